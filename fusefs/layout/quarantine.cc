#include "fusefs/layout/quarantine.h"

#include <cassert>

namespace rram {

Quarantine::Ticket Quarantine::begin_io() {
  ++tickets_of(generation_);
  return Ticket(generation_);
}

void Quarantine::end_io(Ticket ticket) {
  assert(ticket.generation_ == generation_ || ticket.generation_ + 1 == generation_);
  std::uint64_t& tickets = tickets_of(ticket.generation_);
  assert(tickets > 0);
  --tickets;
  if (tickets == 0) {
    advance();
  }
}

void Quarantine::retire(Block block) {
  gathering_.push_back(block);
  held_granules_ += block.granules();
  advance();
}

void Quarantine::advance() {
  while (safe_.empty() && tickets_of(generation_ - 1) == 0) {
    safe_.swap(waiting_);
    if (gathering_.empty()) {
      return;
    }
    waiting_.swap(gathering_);
    ++generation_;
  }
}

void Quarantine::collect(std::vector<Block>& out, std::size_t max_blocks) {
  while (max_blocks > 0 && !safe_.empty()) {
    held_granules_ -= safe_.back().granules();
    out.push_back(safe_.back());
    safe_.pop_back();
    --max_blocks;
    if (safe_.empty()) {
      advance();
    }
  }
}

}  // namespace rram
