#include "fusefs/layout/quarantine.h"

#include <cassert>

namespace rram {

namespace {

// A list keeps its memory for the next blocks up to this; the deletion of a huge file does not
// leave a huge list behind.
constexpr std::size_t kKeptListBlocks = 64 * 1024;

// Appends all of from to to and empties from; steals the memory where it can.
void append_all(std::vector<Block>& from, std::vector<Block>& to) {
  if (to.empty()) {
    to.swap(from);
  } else {
    to.insert(to.end(), from.begin(), from.end());
  }
  from.clear();
  if (from.capacity() > kKeptListBlocks) {
    from.shrink_to_fit();
  }
}

}  // namespace

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
  while (tickets_of(generation_ - 1) == 0) {
    append_all(waiting_, safe_);
    if (gathering_.empty()) {
      return;
    }
    append_all(gathering_, waiting_);
    ++generation_;
  }
}

void Quarantine::collect(std::vector<Block>& out) {
  for (const Block block : safe_) {
    held_granules_ -= block.granules();
  }
  append_all(safe_, out);
}

}  // namespace rram
