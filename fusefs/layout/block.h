// The name of one block: which provider, how large, and where in that provider's lease.
#pragma once

#include <cassert>
#include <cstdint>

#include "fusefs/layout/geometry.h"

namespace rram {

inline constexpr unsigned kMaxProviders = 1024;
// A lease's granules are numbered from 0 over all its regions in order; 44 bits reach 64 PiB.
inline constexpr unsigned kGranuleBits = 44;
inline constexpr std::uint64_t kMaxLeaseGranules = std::uint64_t{1} << kGranuleBits;

// A value of 64 bits. A default Block is none. A block never crosses a stripe unit of its lease
// and starts at a multiple of its own size.
class Block {
 public:
  constexpr Block() = default;
  Block(unsigned provider, unsigned order, std::uint64_t granule)
      : bits_(granule | std::uint64_t{order} << kOrderShift |
              std::uint64_t{provider} << kProviderShift) {
    assert(provider < kMaxProviders && order <= kMaxOrder && granule < kMaxLeaseGranules);
    assert((granule & ((std::uint64_t{1} << order) - 1)) == 0);
  }

  // Stands in a slot whose granules are listed apart (SlotMap); names no memory.
  static constexpr Block split_mark() {
    Block mark;
    mark.bits_ = kSplitBits;
    return mark;
  }

  bool is_none() const { return bits_ == kNoneBits; }
  bool is_split_mark() const { return bits_ == kSplitBits; }

  unsigned provider() const {
    return static_cast<unsigned>(bits_ >> kProviderShift) & (kMaxProviders - 1);
  }
  unsigned order() const { return static_cast<unsigned>(bits_ >> kOrderShift) & 0xFU; }
  std::uint64_t granule() const { return bits_ & (kMaxLeaseGranules - 1); }
  unsigned granules() const { return 1U << order(); }

  // The two halves, and one granule, of this block; each is a block of its own.
  Block lower_half() const { return {provider(), order() - 1, granule()}; }
  Block upper_half() const { return {provider(), order() - 1, granule() + granules() / 2}; }
  Block single(unsigned index) const { return {provider(), 0, granule() + index}; }

  friend bool operator==(Block, Block) = default;

 private:
  static constexpr unsigned kOrderShift = kGranuleBits;
  static constexpr unsigned kProviderShift = kGranuleBits + 4;
  static constexpr std::uint64_t kNoneBits = ~std::uint64_t{0};
  static constexpr std::uint64_t kSplitBits = ~std::uint64_t{1};
  static_assert(kProviderShift + 10 < 63, "the marks must not look like a block");

  std::uint64_t bits_ = kNoneBits;
};

static_assert(sizeof(Block) == 8);

}  // namespace rram
