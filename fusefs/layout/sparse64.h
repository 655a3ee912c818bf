// Up to 64 values under the numbers 0 .. 63, in no more memory than they need.
#pragma once

#include <bit>
#include <boost/container/vector.hpp>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "fusefs/heap_cost.h"
#include "fusefs/layout/geometry.h"

namespace rram {

// A mask of the numbers in use and their values side by side, in order: finding one is a count of
// bits. 24 bytes and a buffer that doubles as it grows and shrinks when most of it is empty. A
// value type; references are good until the next insert or erase.
template <typename T>
class Sparse64 {
 public:
  bool empty() const { return present_ == 0; }
  std::uint64_t present() const { return present_; }

  const T* find(unsigned index) const {
    return (present_ >> index & 1U) != 0 ? &values_[rank(index)] : nullptr;
  }
  T* find(unsigned index) {
    return (present_ >> index & 1U) != 0 ? &values_[rank(index)] : nullptr;
  }

  // The index is not in use.
  T& insert(unsigned index, T value) {
    assert(find(index) == nullptr);
    const auto at = values_.begin() + static_cast<std::ptrdiff_t>(rank(index));
    T& inserted = *values_.insert(at, std::move(value));
    present_ |= std::uint64_t{1} << index;
    return inserted;
  }
  void erase(unsigned index) {
    assert(find(index) != nullptr);
    values_.erase(values_.begin() + static_cast<std::ptrdiff_t>(rank(index)));
    present_ &= ~(std::uint64_t{1} << index);
    if (values_.capacity() > 4 * values_.size()) values_.shrink_to_fit();
  }

  // What the buffer takes of the heap.
  std::uint64_t buffer_bytes() const {
    return values_.capacity() == 0 ? 0 : heap_cost_bytes(values_.capacity() * sizeof(T));
  }

  // The value under the n-th index in use.
  T& nth(std::size_t n) { return values_[n]; }
  const T& nth(std::size_t n) const { return values_[n]; }

 private:
  // Sizes of 8 bits make the vector 16 bytes; growing by doubling fits 64 exactly.
  using Values = boost::container::vector<
      T, void,
      boost::container::vector_options_t<
          boost::container::stored_size<std::uint8_t>,
          boost::container::growth_factor<boost::container::growth_factor_100>>>;

  std::size_t rank(unsigned index) const {
    return static_cast<std::size_t>(std::popcount(present_ & granule_mask(0, index)));
  }

  std::uint64_t present_ = 0;
  Values values_;
};

// For MemoryCount.
template <typename T>
std::uint64_t memory_bytes(const Sparse64<T>& sparse) {
  return sparse.buffer_bytes();
}

}  // namespace rram
