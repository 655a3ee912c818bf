// The half of FileBlocks that gives memory to writes.
#include <algorithm>
#include <array>
#include <bit>
#include <cassert>

#include "fusefs/layout/file_blocks.h"
#include "fusefs/layout/piece_builder.h"

namespace rram {

namespace {

// The orders to try for a block that has to cover the granules up to range.end, best first. The
// first slot takes what it needs, so that a small file is small; later ones at least a quarter of
// a unit, because the file will go on growing.
std::array<unsigned, 2> orders_for(const SlotRange& range, const Geometry& geometry) {
  const unsigned smallest = geometry.order_for(range.end);
  const unsigned quarter = geometry.max_order() - 2;
  return {range.slot == 0 ? smallest : std::max(smallest, quarter), smallest};
}

bool is_too_small(const Slot& entry, const SlotRange& range) {
  return !entry.is_split() && range.end > entry.block.granules();
}

}  // namespace

bool FileBlocks::write_needs_move(std::uint64_t offset, std::uint64_t length,
                                  const Space& space) const {
  bool needs_move = false;
  for_each_slot_range(space.geometry(), offset, length, [&](const SlotRange& range) {
    const Slot* entry = slots_.find(range.slot);
    if (entry != nullptr && is_too_small(*entry, range)) {
      const auto orders = orders_for(range, space.geometry());
      needs_move = needs_move || !(space.can_grow_in_place(entry->block, orders[0]) ||
                                   space.can_grow_in_place(entry->block, orders[1]));
    }
  });
  return needs_move;
}

bool FileBlocks::write_needs_fill(std::uint64_t offset, std::uint64_t length,
                                  const Space& space) const {
  const Geometry& geometry = space.geometry();
  const std::uint64_t end = offset + length;
  return length != 0 &&
         ((geometry.offset_in_granule(offset) != 0 && !is_written(offset, geometry)) ||
          (geometry.offset_in_granule(end) != 0 && !is_written(end - 1, geometry)));
}

std::uint64_t FileBlocks::placeable_bytes(std::uint64_t offset, std::uint64_t length,
                                          const Space& space) const {
  const Geometry& geometry = space.geometry();
  std::uint64_t left = space.free_granules();
  std::uint64_t end = offset + length;
  bool is_full = false;
  for_each_slot_range(geometry, offset, length, [&](const SlotRange& range) {
    if (is_full) {
      return;
    }
    const std::uint64_t backed = backing_of(range.slot).mask();
    for_each_bit_run(
        backed, range.begin, range.end, [&](unsigned begin, unsigned run_end, bool has) {
          if (has || is_full) {
            return;
          }
          if (left < run_end - begin) {
            is_full = true;
            end = geometry.slot_start(range.slot) + geometry.granules_to_bytes(begin + left);
          }
          left -= std::min<std::uint64_t>(left, run_end - begin);
        });
  });
  return end > offset ? end - offset : 0;
}

// Space is counted before it is taken: a slot may take more than it lacks only if enough stays free
// for what the other slots lack. Single granules can always be had while any are free, so a plan
// that passes the first check never fails half way.
Status FileBlocks::plan_write(std::uint64_t offset, std::uint64_t length, Space& space,
                              WritePlan& plan) {
  plan.clear();
  if (length == 0) {
    return {};
  }
  const Geometry& geometry = space.geometry();
  std::uint64_t missing = missing_granules(offset, length, geometry);
  if (missing > space.free_granules()) {
    return fail(ErrorCode::kNoSpace);
  }
  if (missing != 0) {
    // All growth in place comes first: an allocation for one slot must not take the room behind
    // another, or write_needs_move() would have promised too much.
    missing = grow_slots(offset, length, missing, space);
    for_each_slot_range(geometry, offset, length, [&](const SlotRange& range) {
      missing -= missing_granules(range);
      back_slot(range, missing, space, plan);
    });
  }
  plan_pieces(offset, length, space, plan);
  const std::uint64_t end = offset + length;
  plan_fill(geometry.granule_floor(offset), offset, space, plan);
  plan_fill(end, geometry.granule_ceil(end), space, plan);
  return {};
}

unsigned FileBlocks::missing_granules(const SlotRange& range) const {
  const std::uint64_t missing = range.mask() & ~backing_of(range.slot).mask();
  return static_cast<unsigned>(std::popcount(missing));
}

std::uint64_t FileBlocks::missing_granules(std::uint64_t offset, std::uint64_t length,
                                           const Geometry& geometry) const {
  std::uint64_t missing = 0;
  for_each_slot_range(geometry, offset, length,
                      [&](const SlotRange& range) { missing += missing_granules(range); });
  return missing;
}

// Returns what is missing afterwards.
std::uint64_t FileBlocks::grow_slots(std::uint64_t offset, std::uint64_t length,
                                     std::uint64_t missing, Space& space) {
  for_each_slot_range(space.geometry(), offset, length, [&](const SlotRange& range) {
    Slot* entry = slots_.find(range.slot);
    if (entry == nullptr || !is_too_small(*entry, range)) {
      return;
    }
    const unsigned missing_here = missing_granules(range);
    for (const unsigned order : orders_for(range, space.geometry())) {
      const unsigned added = (1U << order) - entry->block.granules();
      if (added + (missing - missing_here) > space.free_granules()) {
        continue;
      }
      if (const auto grown = space.grow_in_place(entry->block, order)) {
        entry->block = *grown;
        allocated_granules_ += added;
        missing -= missing_here;
        return;
      }
    }
  });
  return missing;
}

void FileBlocks::back_slot(const SlotRange& range, std::uint64_t missing_later, Space& space,
                           WritePlan& plan) {
  if (missing_granules(range) == 0) {
    return;
  }
  const Slot* entry = slots_.find(range.slot);
  if (entry == nullptr || !entry->is_split()) {
    for (const unsigned order : orders_for(range, space.geometry())) {
      if ((1U << order) + missing_later > space.free_granules()) {
        continue;
      }
      if (const auto block = space.allocate(order, file_start_, range.slot)) {
        back_with_block(range, *block, space, plan);
        return;
      }
    }
  }
  back_with_granules(range, space);
}

void FileBlocks::back_with_block(const SlotRange& range, Block block, const Space& space,
                                 WritePlan& plan) {
  const Slot* entry = slots_.find(range.slot);
  if (entry == nullptr) {
    slots_.obtain(range.slot, block);
    allocated_granules_ += block.granules();
    return;
  }
  plan.moves.push_back({range.slot, entry->block, block});
  plan_copies(plan.moves.back(), space, plan);
}

// The granules that the range lacks, and no more; in runs as long as there are, because runs that
// lie side by side become one piece.
void FileBlocks::back_with_granules(const SlotRange& range, Space& space) {
  SplitGranules* granules = slots_.find_split(range.slot);
  if (granules == nullptr) {
    granules = &slots_.split(range.slot);
  }
  const std::uint64_t backed = Backing{Block(), granules}.mask();
  // Never raised again: every provider is asked in vain before an order is given up.
  unsigned order = space.geometry().max_order();
  for_each_bit_run(backed, range.begin, range.end, [&](unsigned begin, unsigned end, bool has) {
    while (!has && begin < end) {
      const auto fitting = static_cast<unsigned>(std::bit_width(end - begin)) - 1;
      order = std::min(order, fitting);
      auto block = space.allocate(order, file_start_, range.slot);
      while (!block) {
        assert(order > 0 && "free granules were counted before");
        block = space.allocate(--order, file_start_, range.slot);
      }
      for (unsigned g = 0; g < block->granules(); ++g) {
        (*granules)[begin + g] = block->single(g);
      }
      begin += block->granules();
      allocated_granules_ += block->granules();
    }
  });
}

// As backing_of(slot) will be once the plan's moves are committed.
Backing FileBlocks::backing_of(std::uint64_t slot, const WritePlan& plan) const {
  for (const Move& move : plan.moves) {
    if (move.slot == slot) {
      return {move.to, nullptr};
    }
  }
  return backing_of(slot);
}

void FileBlocks::plan_copies(const Move& move, const Space& space, WritePlan& plan) const {
  const auto place = [&](Block block, unsigned granule) {
    return space.place_of(block.provider(), block.granule() + granule);
  };
  for_each_bit_run(written_of(move.slot), 0, move.from.granules(),
                   [&](unsigned begin, unsigned end, bool is_written) {
                     if (is_written) {
                       plan.copies.push_back({place(move.from, begin), place(move.to, begin),
                                              space.geometry().granules_to_bytes(end - begin)});
                     }
                   });
}

void FileBlocks::plan_pieces(std::uint64_t offset, std::uint64_t length, const Space& space,
                             WritePlan& plan) const {
  const PieceBuilder builder(space, offset, length);
  const Geometry& geometry = space.geometry();
  for_each_slot_range(geometry, offset, length, [&](const SlotRange& range) {
    plan.has_unwritten = plan.has_unwritten || (range.mask() & ~written_of(range.slot)) != 0;
    for_each_memory_run(backing_of(range.slot, plan), geometry.max_order(), range.begin, range.end,
                        [&](unsigned begin, unsigned end, Block first) {
                          builder.add_memory(range.slot, begin, end, first, plan.pieces);
                        });
  });
}

// [begin, end) is the part of one granule that the write leaves out, or empty.
void FileBlocks::plan_fill(std::uint64_t begin, std::uint64_t end, const Space& space,
                           WritePlan& plan) const {
  const Geometry& geometry = space.geometry();
  if (begin == end || is_written(begin, geometry)) {
    return;
  }
  const std::uint64_t slot = geometry.slot_of(begin);
  const unsigned granule = geometry.granule_in_slot(begin);
  const Block memory = backing_of(slot, plan).granule(granule);
  PieceBuilder(space, begin, end - begin)
      .add_memory(slot, granule, granule + 1, memory, plan.fills);
}

void FileBlocks::commit_moves(WritePlan& plan, BlockList& freed) {
  for (const Move& move : plan.moves) {
    Slot* entry = slots_.find(move.slot);
    if (entry == nullptr || entry->block != move.from) {
      freed.push_back(move.to);
      continue;
    }
    entry->block = move.to;
    allocated_granules_ += move.to.granules() - move.from.granules();
    freed.push_back(move.from);
  }
  plan.moves.clear();
  plan.copies.clear();
}

void FileBlocks::commit_write(const WritePlan& plan, const Space& space) {
  assert(plan.moves.empty() && "the moves are committed first");
  if (!plan.has_unwritten) {
    return;
  }
  for (const Piece& piece : plan.pieces) {
    set_written(piece, space);
  }
}

void FileBlocks::set_written(const Piece& piece, const Space& space) {
  const Geometry& geometry = space.geometry();
  const std::uint64_t slot = geometry.slot_of(piece.file_offset);
  Slot* entry = slots_.find(slot);
  if (entry == nullptr) {
    return;
  }
  const Backing backing = backing_of(slot);
  const unsigned begin = geometry.granule_in_slot(piece.file_offset);
  const unsigned end = geometry.granule_in_slot(piece.file_offset + piece.length - 1) + 1;
  const std::uint64_t first = space.granule_of(piece.place);
  for (unsigned g = begin; g < end; ++g) {
    if (backing.granule(g) == Block(piece.place.provider, 0, first + (g - begin))) {
      entry->written |= std::uint64_t{1} << g;
    }
  }
}

void FileBlocks::abandon(WritePlan& plan, Space& space) {
  for (const Move& move : plan.moves) {
    space.free(move.to);
  }
  plan.clear();
}

}  // namespace rram
