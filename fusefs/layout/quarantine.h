// Freed blocks wait here until no I/O can touch them any more.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "fusefs/layout/block.h"
#include "fusefs/layout/geometry.h"

namespace rram {

// Owned by the volume, called under its lock. Every I/O that carries out a plan takes a ticket
// before the plan is made and gives it back after the plan is committed (or dropped); a block that
// leaves a file is retired; a retired block is safe when every ticket taken before that is back.
//
// Time is cut into generations. A ticket belongs to the generation it was taken in. Blocks gather
// in the current generation; when the one before has no tickets left, the current one is closed (no
// new tickets, so it must run dry) and a new one opens. So a block waits for at most two
// generations of I/O, however busy the volume is, and every call is O(1), but for collect().
class Quarantine {
 public:
  class Ticket {
    friend class Quarantine;
    explicit Ticket(std::uint64_t generation) : generation_(generation) {}
    std::uint64_t generation_;
  };

  explicit Quarantine(const Geometry& geometry) : geometry_(geometry) {}

  [[nodiscard]] Ticket begin_io();
  void end_io(Ticket ticket);

  void retire(Block block);
  // Appends up to `max_blocks` of the blocks that are safe now to out: they are the caller's to
  // free.
  void collect(std::vector<Block>& out, std::size_t max_blocks = SIZE_MAX);
  bool has_safe_blocks() const { return !safe_.empty(); }

  // Bytes of all blocks retired and not yet collected. They count as free in statfs.
  std::uint64_t held_bytes() const { return geometry_.granules_to_bytes(held_granules_); }
  std::uint64_t tickets_out() const { return tickets_[0] + tickets_[1]; }

 private:
  std::uint64_t& tickets_of(std::uint64_t generation) { return tickets_[generation % 2]; }
  // Lets every generation pass that can. None while safe blocks are left: lists are swapped, never
  // copied, however many blocks a huge file had.
  void advance();

  Geometry geometry_;
  std::uint64_t generation_ = 1;
  // Tickets of the current generation and of the one before; there are never older ones.
  std::array<std::uint64_t, 2> tickets_{};
  std::deque<Block> gathering_;  // retired in the current generation
  std::deque<Block> waiting_;    // retired before; waits for the tickets of the one before
  std::deque<Block> safe_;
  std::uint64_t held_granules_ = 0;
};

}  // namespace rram
