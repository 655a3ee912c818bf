// Owner of one memory mapping: the only place that calls mmap and munmap. What is mapped here stays
// out of core dumps.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "base/result.h"

namespace rram {

namespace detail {
struct Unmapper {
  std::size_t length_bytes = 0;
  void operator()(std::byte* address) const;
};
}  // namespace detail

class Mapping {
 public:
  Mapping() = default;

  // Zeroed private memory, aligned to 2 MiB where it is that large, asking for transparent huge
  // pages; touched page by page before it returns when `prefault` is set.
  static Result<Mapping> anonymous(std::size_t length_bytes, bool prefault);
  // The first `length_bytes` of `fd`, shared, readable and writable.
  static Result<Mapping> shared(int fd, std::size_t length_bytes);

  [[nodiscard]] std::span<std::byte> bytes() const {
    return {memory_.get(), memory_.get_deleter().length_bytes};
  }
  [[nodiscard]] std::byte* data() const { return memory_.get(); }
  [[nodiscard]] std::size_t size_bytes() const { return memory_.get_deleter().length_bytes; }
  explicit operator bool() const { return memory_ != nullptr; }

 private:
  Mapping(std::byte* address, std::size_t length_bytes)
      : memory_(address, detail::Unmapper{length_bytes}) {}

  std::unique_ptr<std::byte, detail::Unmapper> memory_;
};

}  // namespace rram
