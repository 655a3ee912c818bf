// Walking a byte range of a file slot by slot, and a slot's granules run by run.
#pragma once

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstdint>

#include "fusefs/layout/geometry.h"
#include "fusefs/layout/slot_map.h"

namespace rram {

// The granules [begin, end) of a slot; not empty.
struct SlotRange {
  std::uint64_t slot = 0;
  unsigned begin = 0;
  unsigned end = 0;

  unsigned granules() const { return end - begin; }
  std::uint64_t mask() const { return granule_mask(begin, end); }
};

// fn(SlotRange) for every slot that [offset, offset + length) touches, in order, with the granules
// it touches wholly or in part.
template <typename Fn>
void for_each_slot_range(const Geometry& geometry, std::uint64_t offset, std::uint64_t length,
                         Fn&& fn) {
  assert(length <= kMaxFileBytes && offset <= kMaxFileBytes - length);
  if (length == 0) {
    return;
  }
  const std::uint64_t last_byte = offset + length - 1;
  const std::uint64_t first_slot = geometry.slot_of(offset);
  const std::uint64_t last_slot = geometry.slot_of(last_byte);
  for (std::uint64_t slot = first_slot; slot <= last_slot; ++slot) {
    const unsigned begin = slot == first_slot ? geometry.granule_in_slot(offset) : 0;
    const unsigned end =
        slot == last_slot ? geometry.granule_in_slot(last_byte) + 1 : geometry.granules_per_unit();
    fn(SlotRange{slot, begin, end});
  }
}

// What stands behind a slot: one block, single granules, or nothing.
struct Backing {
  Block block;                              // none: look at granules
  const SplitGranules* granules = nullptr;  // nullptr with no block: nothing

  // The provider and lease granule of a granule of the slot, as a block of order 0, or none.
  Block granule(unsigned index) const {
    if (granules != nullptr) {
      return (*granules)[index];
    }
    return !block.is_none() && index < block.granules() ? block.single(index) : Block();
  }
  // Which granules have memory.
  std::uint64_t mask() const {
    if (granules == nullptr) {
      return block.is_none() ? 0 : granule_mask(0, block.granules());
    }
    std::uint64_t mask = 0;
    for (unsigned g = 0; g < granules->size(); ++g) {
      mask |= std::uint64_t{!(*granules)[g].is_none()} << g;
    }
    return mask;
  }
};

// fn(begin, end, is_set) for the runs of equal bits of mask in the granules [begin, end).
template <typename Fn>
void for_each_bit_run(std::uint64_t mask, unsigned begin, unsigned end, Fn&& fn) {
  while (begin < end) {
    const bool is_set = (mask >> begin & 1U) != 0;
    const std::uint64_t rest = (is_set ? ~mask : mask) & granule_mask(begin, kMaxGranulesPerUnit);
    const unsigned run_end = std::min(end, static_cast<unsigned>(std::countr_zero(rest)));
    fn(begin, run_end, is_set);
    begin = run_end;
  }
}

// fn(begin, end, first granule as a block of order 0) for the runs of granules of [begin, end) that
// lie side by side in one lease. All of them have memory. A run never leaves a stripe unit of the
// lease, so it lies in one region.
template <typename Fn>
void for_each_memory_run(const Backing& backing, unsigned max_order, unsigned begin, unsigned end,
                         Fn&& fn) {
  if (backing.granules == nullptr) {
    fn(begin, end, backing.block.single(begin));
    return;
  }
  while (begin < end) {
    const Block first = backing.granule(begin);
    assert(!first.is_none());
    unsigned run_end = begin + 1;
    for (; run_end < end; ++run_end) {
      const std::uint64_t expected = first.granule() + (run_end - begin);
      const bool is_same_unit = expected >> max_order == first.granule() >> max_order;
      if (!is_same_unit || backing.granule(run_end) != Block(first.provider(), 0, expected)) {
        break;
      }
    }
    fn(begin, run_end, first);
    begin = run_end;
  }
}

}  // namespace rram
