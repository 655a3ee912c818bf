// The sparse slots of one file.
#pragma once

#include <array>
#include <bit>
#include <boost/container/map.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "fusefs/layout/block.h"
#include "fusefs/layout/sparse64.h"

namespace rram {

// What stands for one stripe unit of a file.
struct Slot {
  // One block that covers the slot from its start, or the split mark.
  Block block;
  // Bit g: granule g was written. Others read as zeros, whatever their memory holds.
  std::uint64_t written = 0;

  bool is_split() const { return block.is_split_mark(); }
};

static_assert(sizeof(Slot) == 16);

// The granules of a split slot, each none or a block of order 0.
using SplitGranules = std::array<Block, kMaxGranulesPerUnit>;

// Slot index -> Slot, without an entry for an empty slot. Made for very many small files and a few
// huge, perhaps very sparse ones: slot 0 stands in the object itself (24 bytes in all); the others
// in leaves of 64, the leaves in pages of 64, and the pages (1 GiB of file each at the default
// unit) in an ordered map. A leaf or page holds only what exists: 16 bytes a slot and about 1 more
// for the rest when it is full. References are good until the next obtain, split or erase.
class SlotMap {
 public:
  // nullptr: the slot is empty.
  Slot* find(std::uint64_t slot) {
    return const_cast<Slot*>(std::as_const(*this).find(slot));  // NOLINT: the object is not const
  }
  const Slot* find(std::uint64_t slot) const;

  // The slot, made with the given block and nothing written if it was empty.
  Slot& obtain(std::uint64_t slot, Block block);
  void erase(std::uint64_t slot);

  // Turns the slot's block, which may be none for a new slot, into single granules.
  SplitGranules& split(std::uint64_t slot);
  SplitGranules* find_split(std::uint64_t slot) {
    return const_cast<SplitGranules*>(std::as_const(*this).find_split(slot));  // NOLINT: as above
  }
  const SplitGranules* find_split(std::uint64_t slot) const;

  // The lowest slot >= from that is not empty.
  std::optional<std::uint64_t> next_used(std::uint64_t from) const;

  // An estimate of the heap that this takes; constant time.
  std::uint64_t memory_bytes() const;

  // fn(slot index, Slot&) for every slot >= from that is not empty, in order.
  template <typename Fn>
  void for_each_from(std::uint64_t from, Fn&& fn);
  template <typename Fn>
  void for_each_from(std::uint64_t from, Fn&& fn) const;

 private:
  using Leaf = Sparse64<Slot>;
  using Page = Sparse64<Leaf>;

  static constexpr unsigned kFanOut = 64;
  static constexpr std::uint64_t kPageSlots = std::uint64_t{kFanOut} * kFanOut;

  static std::uint64_t page_of(std::uint64_t slot) { return slot / kPageSlots; }
  static unsigned leaf_in_page(std::uint64_t slot) { return slot / kFanOut % kFanOut; }
  static unsigned slot_in_leaf(std::uint64_t slot) { return slot % kFanOut; }

  // What a file of one block does without.
  struct Rest {
    boost::container::map<std::uint64_t, Page> pages;  // by page_of(slot); slot 0 is not in there
    boost::unordered_flat_map<std::uint64_t, std::unique_ptr<SplitGranules>> splits;  // by slot
    std::uint64_t buffer_bytes = 0;  // of all pages and leaves
  };

  Rest& rest();
  void erase_from_page(std::uint64_t slot);
  static std::optional<std::uint64_t> next_used(std::uint64_t from, const Page& page);
  template <typename Map, typename Fn>
  static void visit(Map& map, std::uint64_t from, Fn&& fn);

  Slot first_;
  std::unique_ptr<Rest> rest_;
};

template <typename Map, typename Fn>
void SlotMap::visit(Map& map, std::uint64_t from, Fn&& fn) {
  if (from == 0 && !map.first_.block.is_none()) {
    fn(std::uint64_t{0}, map.first_);
  }
  if (!map.rest_) {
    return;
  }
  auto& pages = map.rest_->pages;
  for (auto it = pages.lower_bound(page_of(from)); it != pages.end(); ++it) {
    std::size_t leaf_rank = 0;
    for (std::uint64_t leaves = it->second.present(); leaves != 0; leaves &= leaves - 1) {
      auto& leaf = it->second.nth(leaf_rank++);
      const std::uint64_t base =
          it->first * kPageSlots +
          std::uint64_t{kFanOut} * static_cast<unsigned>(std::countr_zero(leaves));
      std::size_t rank = 0;
      for (std::uint64_t slots = leaf.present(); slots != 0; slots &= slots - 1, ++rank) {
        const std::uint64_t slot = base + static_cast<unsigned>(std::countr_zero(slots));
        if (slot >= from) {
          fn(slot, leaf.nth(rank));
        }
      }
    }
  }
}

template <typename Fn>
void SlotMap::for_each_from(std::uint64_t from, Fn&& fn) {
  visit(*this, from, fn);
}

template <typename Fn>
void SlotMap::for_each_from(std::uint64_t from, Fn&& fn) const {
  visit(*this, from, [&fn](std::uint64_t slot, const Slot& entry) { fn(slot, entry); });
}

}  // namespace rram
