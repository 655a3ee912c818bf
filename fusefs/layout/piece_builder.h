// From granules to the pieces of a plan.
#pragma once

#include <algorithm>
#include <cstdint>

#include "fusefs/layout/plan.h"
#include "fusefs/layout/slot_range.h"
#include "fusefs/layout/space.h"

namespace rram {

// Cuts whole granules to the byte range that was asked for. Lives on the stack of one planning
// call.
class PieceBuilder {
 public:
  PieceBuilder(const Space& space, std::uint64_t offset, std::uint64_t length)
      : space_(space), offset_(offset), end_(offset + length) {}

  // The granules [begin, end) of the slot lie side by side from granule first (of order 0) on.
  template <typename List>
  void add_memory(std::uint64_t slot, unsigned begin, unsigned end, Block first,
                  List& pieces) const {
    Piece piece = cut(slot, begin, end);
    const std::uint64_t granules_start = byte_of(slot, begin);
    piece.place = space_.place_of(first.provider(), first.granule());
    piece.place.region_offset += piece.file_offset - granules_start;
    pieces.push_back(piece);
  }

  // Holes side by side become one.
  void add_hole(std::uint64_t slot, unsigned begin, unsigned end, Pieces& pieces) const {
    Piece piece = cut(slot, begin, end);
    piece.is_hole = true;
    if (!pieces.empty() && pieces.back().is_hole) {
      pieces.back().length += piece.length;
    } else {
      pieces.push_back(piece);
    }
  }

 private:
  std::uint64_t byte_of(std::uint64_t slot, unsigned granule) const {
    const Geometry& geometry = space_.geometry();
    return geometry.slot_start(slot) + geometry.granules_to_bytes(granule);
  }
  Piece cut(std::uint64_t slot, unsigned begin, unsigned end) const {
    const std::uint64_t from = std::max(offset_, byte_of(slot, begin));
    const std::uint64_t to = std::min(end_, byte_of(slot, end));
    return {.file_offset = from, .length = to - from, .place = {}, .is_hole = false};
  }

  const Space& space_;
  std::uint64_t offset_;
  std::uint64_t end_;
};

}  // namespace rram
