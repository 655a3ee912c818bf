#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace rram::exerciser {

// Seeded random numbers that are the same on every machine and library (splitmix64).
// Every process of the exerciser owns one; it is used by one thread.
class Chance {
 public:
  explicit Chance(uint64_t seed) : state_(seed) {}

  uint64_t next();
  // A number in [0, limit); 0 when limit is 0.
  uint64_t below(uint64_t limit) { return limit == 0 ? 0 : next() % limit; }
  // A number in [low, high], both included.
  uint64_t between(uint64_t low, uint64_t high) { return low + below(high - low + 1); }
  bool one_in(uint64_t n) { return below(n) == 0; }

 private:
  uint64_t state_;
};

// Fills `out` with bytes that depend on `tag` and on the place in `out`, so that a piece that
// landed in a wrong place or came from another write does not look right by accident.
void fill_pattern(uint64_t tag, std::span<std::byte> out);

// One number out of several, for seeds of processes and operations.
uint64_t mix(uint64_t a, uint64_t b);

}  // namespace rram::exerciser
