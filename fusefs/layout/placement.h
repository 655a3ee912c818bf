// Which provider a stripe unit should go to when all have room.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace rram {

// Round robin in proportion to capacity. A fixed sequence of providers, repeated for ever: each
// stands in it as often as its capacity asks, spread as evenly as possible, and never twice in a
// row unless it has more than half of the capacity. Equal capacities give 0, 1, 2, ... n-1. A value
// type; building costs O(n log n) with n = the length of the sequence.
class Placement {
 public:
  Placement() = default;
  // One entry per provider; 0 bytes: the provider is left out.
  explicit Placement(std::span<const std::uint64_t> capacities_bytes);

  bool empty() const { return sequence_.empty(); }
  std::span<const std::uint16_t> sequence() const { return sequence_; }

  // The provider for a slot of a file. file_start is any number kept with the file; files with
  // consecutive starts begin at consecutive places of the sequence. Not to be called when empty.
  unsigned provider_for(std::uint32_t file_start, std::uint64_t slot) const {
    return sequence_[(file_start + slot) % sequence_.size()];
  }

 private:
  std::vector<std::uint16_t> sequence_;
};

}  // namespace rram
