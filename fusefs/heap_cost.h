// What an allocation costs with glibc's malloc, for estimates of memory use.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace rram {

// Bytes that malloc takes for `size_bytes`: 8 of header, rounded up to 16, at least 32.
constexpr std::uint64_t heap_cost_bytes(std::size_t size_bytes) {
  constexpr std::size_t kHeaderBytes = 8;
  constexpr std::size_t kAlignBytes = 16;
  constexpr std::size_t kSmallestBytes = 32;
  const std::size_t rounded_bytes =
      (size_bytes + kHeaderBytes + kAlignBytes - 1) / kAlignBytes * kAlignBytes;
  return std::max(kSmallestBytes, rounded_bytes);
}

// Bytes of the table of a Boost flat set or map: its slots, and 16 bytes for each 15 of them.
template <typename Table>
std::uint64_t flat_table_bytes(const Table& table) {
  // NOLINTNEXTLINE(bugprone-sizeof-expression): a slot may well hold a pointer.
  return (table.bucket_count() * sizeof(typename Table::value_type)) +
         (table.bucket_count() / 15 * 16);
}

// A flat table never shrinks by itself. Called after each removal, this gives memory back when
// seven eighths of the slots are empty; the cost is spread over the removals that emptied them.
template <typename Table>
void shrink_if_sparse(Table& table) {
  constexpr std::size_t kSmallSlots = 64;
  if (table.bucket_count() > kSmallSlots && table.size() < table.bucket_count() / 8) {
    table.rehash(0);
  }
}

// Keeps a sum of memory_bytes(part) right while the part changes.
template <typename Part>
class MemoryCount {
 public:
  MemoryCount(std::uint64_t& sum_bytes, const Part& part) : sum_bytes_(sum_bytes), part_(part) {
    sum_bytes_ -= memory_bytes(part_);
  }
  ~MemoryCount() { sum_bytes_ += memory_bytes(part_); }
  MemoryCount(const MemoryCount&) = delete;
  MemoryCount& operator=(const MemoryCount&) = delete;

 private:
  std::uint64_t& sum_bytes_;
  const Part& part_;
};

}  // namespace rram
