#include "fusefs/layout/file_blocks.h"

#include <algorithm>
#include <bit>
#include <cassert>

#include "fusefs/layout/piece_builder.h"

namespace rram {

void FileBlocks::plan_read(std::uint64_t offset, std::uint64_t length, const Space& space,
                           ReadPlan& plan) const {
  plan.clear();
  const PieceBuilder builder(space, offset, length);
  const unsigned max_order = space.geometry().max_order();
  for_each_slot_range(space.geometry(), offset, length, [&](const SlotRange& range) {
    const Slot* entry = slots_.find(range.slot);
    const std::uint64_t written = entry == nullptr ? 0 : entry->written;
    for_each_bit_run(written, range.begin, range.end,
                     [&](unsigned begin, unsigned end, bool is_set) {
                       if (!is_set) {
                         builder.add_hole(range.slot, begin, end, plan.pieces);
                         return;
                       }
                       const Backing backing = backing_of(range.slot);
                       for_each_memory_run(backing, max_order, begin, end,
                                           [&](unsigned run_begin, unsigned run_end, Block first) {
                                             builder.add_memory(range.slot, run_begin, run_end,
                                                                first, plan.pieces);
                                           });
                     });
  });
}

std::optional<Piece> FileBlocks::truncate_tail(std::uint64_t new_size, const Space& space) const {
  const Geometry& geometry = space.geometry();
  Pieces zeros;
  punch_edges(new_size, geometry.granule_ceil(new_size) - new_size, space, zeros);
  return zeros.empty() ? std::nullopt : std::optional<Piece>(zeros.front());
}

bool FileBlocks::truncate(std::uint64_t new_size, const Geometry& geometry, BlockList& freed,
                          std::size_t max_blocks) {
  const std::uint64_t begin = geometry.granule_ceil(new_size);
  return drop_range(begin, kMaxFileBytes, geometry, freed, max_blocks) == kMaxFileBytes;
}

void FileBlocks::punch_edges(std::uint64_t offset, std::uint64_t length, const Space& space,
                             Pieces& zeros) const {
  const Geometry& geometry = space.geometry();
  const auto add = [&](std::uint64_t begin, std::uint64_t end) {
    if (begin < end && is_written(begin, geometry)) {
      const Backing backing = backing_of(geometry.slot_of(begin));
      const unsigned granule = geometry.granule_in_slot(begin);
      PieceBuilder(space, begin, end - begin)
          .add_memory(geometry.slot_of(begin), granule, granule + 1, backing.granule(granule),
                      zeros);
    }
  };
  const std::uint64_t end = offset + length;
  const std::uint64_t head_end = std::min(end, geometry.granule_ceil(offset));
  add(offset, head_end);
  add(std::max(head_end, geometry.granule_floor(end)), end);
}

std::uint64_t FileBlocks::punch(std::uint64_t offset, std::uint64_t length,
                                const Geometry& geometry, BlockList& freed,
                                std::size_t max_blocks) {
  const std::uint64_t end = geometry.granule_floor(offset + length);
  const std::uint64_t done =
      drop_range(geometry.granule_ceil(offset), end, geometry, freed, max_blocks);
  return done < end ? done : offset + length;
}

// The granules [begin, end), in bytes. Only slots that exist are visited: the range may be as large
// as a file can be. The answer is where to go on, or `end`.
std::uint64_t FileBlocks::drop_range(std::uint64_t begin, std::uint64_t end,
                                     const Geometry& geometry, BlockList& freed,
                                     std::size_t max_blocks) {
  if (begin >= end) {
    return end;
  }
  const std::uint64_t first_slot = geometry.slot_of(begin);
  const std::uint64_t last_slot = geometry.slot_of(end - 1);
  const std::size_t freed_before = freed.size();
  auto slot = slots_.next_used(first_slot);
  while (slot && *slot <= last_slot) {
    if (freed.size() - freed_before >= max_blocks) {
      return std::max(begin, geometry.slot_start(*slot));
    }
    const unsigned from = *slot == first_slot ? geometry.granule_in_slot(begin) : 0;
    const unsigned to =
        *slot == last_slot ? geometry.granule_in_slot(end - 1) + 1 : kMaxGranulesPerUnit;
    if (drop_granules(*slot, *slots_.find(*slot), from, to, freed)) {
      slots_.erase(*slot);
    }
    slot = slots_.next_used(*slot + 1);
  }
  return end;
}

std::optional<std::uint64_t> FileBlocks::next_data(std::uint64_t offset, std::uint64_t size,
                                                   const Geometry& geometry) const {
  unsigned begin = geometry.granule_in_slot(offset);
  auto slot = slots_.next_used(geometry.slot_of(offset));
  if (slot != geometry.slot_of(offset)) {
    begin = 0;
  }
  while (slot && geometry.slot_start(*slot) < size) {
    const std::uint64_t data =
        slots_.find(*slot)->written & granule_mask(begin, kMaxGranulesPerUnit);
    if (data != 0) {
      const std::uint64_t found =
          geometry.slot_start(*slot) +
          geometry.granules_to_bytes(static_cast<unsigned>(std::countr_zero(data)));
      return found < size ? std::optional(std::max(found, offset)) : std::nullopt;
    }
    begin = 0;
    slot = slots_.next_used(*slot + 1);
  }
  return std::nullopt;
}

std::uint64_t FileBlocks::next_hole(std::uint64_t offset, std::uint64_t size,
                                    const Geometry& geometry) const {
  unsigned begin = geometry.granule_in_slot(offset);
  for (std::uint64_t slot = geometry.slot_of(offset); geometry.slot_start(slot) < size; ++slot) {
    const std::uint64_t holes =
        ~written_of(slot) & granule_mask(begin, geometry.granules_per_unit());
    if (holes != 0) {
      const std::uint64_t found =
          geometry.slot_start(slot) +
          geometry.granules_to_bytes(static_cast<unsigned>(std::countr_zero(holes)));
      return std::min(size, std::max(found, offset));
    }
    begin = 0;
  }
  return size;
}

Backing FileBlocks::backing_of(std::uint64_t slot) const {
  const Slot* entry = slots_.find(slot);
  if (entry == nullptr) {
    return {};
  }
  return entry->is_split() ? Backing{Block(), slots_.find_split(slot)}
                           : Backing{entry->block, nullptr};
}

std::uint64_t FileBlocks::written_of(std::uint64_t slot) const {
  const Slot* entry = slots_.find(slot);
  return entry == nullptr ? 0 : entry->written;
}

bool FileBlocks::is_written(std::uint64_t offset, const Geometry& geometry) const {
  return (written_of(geometry.slot_of(offset)) >> geometry.granule_in_slot(offset) & 1U) != 0;
}

// Forgets what was written in the granules [begin, end) of a slot and frees their memory where that
// can be done without a copy. True: the slot has no memory left and is to be erased.
bool FileBlocks::drop_granules(std::uint64_t slot, Slot& entry, unsigned begin, unsigned end,
                               BlockList& freed) {
  entry.written &= ~granule_mask(begin, end);
  const auto release = [&](Block block) {
    freed.push_back(block);
    allocated_granules_ -= block.granules();
  };
  if (entry.is_split()) {
    bool is_empty = true;
    SplitGranules& granules = *slots_.find_split(slot);
    for (unsigned g = 0; g < granules.size(); ++g) {
      if (g >= begin && g < end && !granules[g].is_none()) {
        release(granules[g]);
        granules[g] = Block();
      }
      is_empty = is_empty && granules[g].is_none();
    }
    return is_empty;
  }
  if (end < entry.block.granules()) {
    return false;
  }
  if (begin == 0) {
    release(entry.block);
    return true;
  }
  while (entry.block.order() > 0 && begin <= entry.block.granules() / 2) {
    release(entry.block.upper_half());
    entry.block = entry.block.lower_half();
  }
  return false;
}

}  // namespace rram
