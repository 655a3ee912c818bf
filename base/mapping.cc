#include "base/mapping.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstdint>

namespace rram {

namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

// What programs store passes through here: it is nobody's business to find it in a core dump, and a
// dump of a whole pool would fill the disk. Every kind of memory takes this advice.
void keep_out_of_core_dumps(std::byte* address, std::size_t length_bytes) {
  ::madvise(address, length_bytes, MADV_DONTDUMP);
}

// Maps more than asked and trims, because mmap promises only page alignment.
std::byte* map_aligned(std::size_t length_bytes, std::size_t alignment_bytes) {
  const std::size_t padded_bytes = length_bytes + alignment_bytes;
  void* raw =
      ::mmap(nullptr, padded_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  auto* start = static_cast<std::byte*>(raw);
  const std::size_t misaligned = reinterpret_cast<std::uintptr_t>(raw) % alignment_bytes;
  const std::size_t head_bytes = misaligned == 0 ? 0 : alignment_bytes - misaligned;
  if (head_bytes > 0) ::munmap(start, head_bytes);
  const std::size_t tail_bytes = alignment_bytes - head_bytes;
  if (tail_bytes > 0) ::munmap(start + head_bytes + length_bytes, tail_bytes);
  return start + head_bytes;
}

}  // namespace

void detail::Unmapper::operator()(std::byte* address) const { ::munmap(address, length_bytes); }

Result<Mapping> Mapping::anonymous(std::size_t length_bytes, bool prefault) {
  const std::size_t page_bytes = 4096;
  const std::size_t rounded_bytes = (length_bytes + page_bytes - 1) / page_bytes * page_bytes;
  const bool huge = rounded_bytes >= kHugePageBytes;
  std::byte* address = map_aligned(rounded_bytes, huge ? kHugePageBytes : page_bytes);
  if (address == nullptr) {
    return fail_errno(errno, fmt::format("cannot map {} bytes of memory", rounded_bytes));
  }
  Mapping mapping(address, rounded_bytes);
  keep_out_of_core_dumps(address, rounded_bytes);
  if (huge) ::madvise(address, rounded_bytes, MADV_HUGEPAGE);
  if (prefault && ::madvise(address, rounded_bytes, MADV_POPULATE_WRITE) != 0) {
    return fail_errno(errno, fmt::format("cannot pre-fault {} bytes of memory", rounded_bytes));
  }
  return mapping;
}

Result<Mapping> Mapping::shared(int fd, std::size_t length_bytes) {
  void* raw = ::mmap(nullptr, length_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (raw == MAP_FAILED) {
    return fail_errno(errno, fmt::format("cannot map {} bytes of shared memory", length_bytes));
  }
  Mapping mapping(static_cast<std::byte*>(raw), length_bytes);
  keep_out_of_core_dumps(mapping.data(), length_bytes);
  return mapping;
}

}  // namespace rram
