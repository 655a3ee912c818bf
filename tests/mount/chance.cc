#include "tests/mount/chance.h"

#include <algorithm>
#include <cstring>

namespace rram::exerciser {

uint64_t Chance::next() {
  state_ += 0x9e3779b97f4a7c15ULL;
  uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

void fill_pattern(uint64_t tag, std::span<std::byte> out) {
  Chance chance(tag);
  while (!out.empty()) {
    const uint64_t word = chance.next();
    const size_t count = std::min(out.size(), sizeof(word));
    std::memcpy(out.data(), &word, count);
    out = out.subspan(count);
  }
}

uint64_t mix(uint64_t a, uint64_t b) { return Chance(a ^ Chance(b).next()).next(); }

}  // namespace rram::exerciser
