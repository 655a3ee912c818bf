// What is to be moved between a request and provider memory: the layout's answers to the data path.
#pragma once

#include <boost/container/small_vector.hpp>
#include <cstdint>

#include "fusefs/layout/block.h"

namespace rram {

// A byte of provider memory, as a transport names it.
struct Place {
  unsigned provider = 0;
  std::uint32_t region_index = 0;   // which region of that provider's lease
  std::uint64_t region_offset = 0;  // bytes from the start of the region

  friend bool operator==(const Place&, const Place&) = default;
};

// A run of bytes of the file that is contiguous in one region, or a hole. Never longer than a
// stripe unit unless it is a hole.
struct Piece {
  std::uint64_t file_offset = 0;
  std::uint64_t length = 0;
  Place place;           // of the first byte; means nothing in a hole
  bool is_hole = false;  // no memory, or memory never written: reads as zeros
};

// Bytes to be copied from one place to another.
struct Copy {
  Place from;
  Place to;
  std::uint64_t length = 0;
};

// A slot's block gives way to a larger one.
struct Move {
  std::uint64_t slot = 0;
  Block from;
  Block to;
};

using Pieces = boost::container::small_vector<Piece, 8>;

// Blocks that left a file; the caller retires them into the quarantine.
using BlockList = boost::container::small_vector<Block, 8>;

// Plans are kept and used again: after the first large ones nothing is allocated.

// The pieces cover the range without gaps, in file order.
struct ReadPlan {
  Pieces pieces;

  void clear() { pieces.clear(); }
};

// What a write needs, in this order: the copies (if any) -> commit_moves; the fills and the pieces,
// in any order among each other -> commit_write.
struct WritePlan {
  Pieces pieces;  // the written range, in file order, without gaps or holes
  // To be overwritten with zeros: the rest of never-written granules that the range covers in part.
  boost::container::small_vector<Piece, 2> fills;
  boost::container::small_vector<Move, 2> moves;
  boost::container::small_vector<Copy, 2> copies;  // the written granules of all moves
  bool has_unwritten = false;                      // else commit_write has nothing to do

  void clear() {
    pieces.clear();
    fills.clear();
    moves.clear();
    copies.clear();
    has_unwritten = false;
  }
};

}  // namespace rram
