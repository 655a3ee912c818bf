#include "rdma/tcp/scatter.h"

#include <algorithm>
#include <cstring>

#if defined(__SANITIZE_THREAD__)
extern "C" void AnnotateIgnoreWritesBegin(const char* file, int line);
extern "C" void AnnotateIgnoreWritesEnd(const char* file, int line);
#endif

namespace rram {

#if defined(__SANITIZE_THREAD__)
void place(std::byte* target, std::span<const std::byte> payload) {
  AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  std::memcpy(target, payload.data(), payload.size());
  AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
}
#else
void place(std::byte* target, std::span<const std::byte> payload) {
  std::memcpy(target, payload.data(), payload.size());
}
#endif

std::size_t scatter(std::span<const std::byte> bytes, std::span<const iovec> places) {
  std::size_t placed_bytes = 0;
  for (const iovec& each : places) {
    const std::size_t length = std::min(each.iov_len, bytes.size() - placed_bytes);
    place(static_cast<std::byte*>(each.iov_base), bytes.subspan(placed_bytes, length));
    placed_bytes += length;
  }
  return placed_bytes;
}

}  // namespace rram
