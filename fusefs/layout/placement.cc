#include "fusefs/layout/placement.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

#include "fusefs/layout/block.h"

namespace rram {

namespace {

// Bounds on the sequence: fine enough that shares are right to about 1 %, small enough to build
// anew whenever a lease comes (1,024 providers: 32 KiB).
constexpr std::uint64_t kMaxSequenceLength = 16 * 1024;
constexpr std::uint64_t kMaxEntriesPerProvider = 64;

// How often each provider stands in the sequence.
std::vector<std::uint64_t> weights_of(std::span<const std::uint64_t> capacities_bytes) {
  std::vector<std::uint64_t> weights(capacities_bytes.begin(), capacities_bytes.end());
  std::uint64_t divisor = 0;
  std::uint64_t total_bytes = 0;
  std::uint64_t providers = 0;
  for (const std::uint64_t bytes : weights) {
    divisor = std::gcd(divisor, bytes);
    total_bytes += bytes;
    providers += bytes != 0 ? 1 : 0;
  }
  if (providers == 0) {
    return weights;
  }
  const std::uint64_t limit = std::min(kMaxSequenceLength, providers * kMaxEntriesPerProvider);
  for (std::uint64_t& weight : weights) {
    if (weight == 0) {
      continue;
    }
    if (total_bytes / divisor <= limit) {
      weight /= divisor;
    } else {
      // In floating point because bytes times entries may pass 64 bits; 53 bits are plenty here.
      const double share = static_cast<double>(weight) / static_cast<double>(total_bytes);
      const double entries = share * static_cast<double>(limit);
      weight = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(std::llround(entries)));
    }
  }
  return weights;
}

// The turn-th of the weight entries of a provider; due at (2 * turn + 1) / (2 * weight).
struct Entry {
  std::uint64_t turn;
  std::uint64_t weight;
  std::uint16_t provider;
};

bool is_due_before(const Entry& a, const Entry& b) {
  const std::uint64_t a_due = (2 * a.turn + 1) * b.weight;
  const std::uint64_t b_due = (2 * b.turn + 1) * a.weight;
  return a_due != b_due ? a_due < b_due : a.provider < b.provider;
}

// Takes repetitions out of a sequence that is read as a ring, as long as no provider has more than
// half of the entries.
class RepetitionMender {
 public:
  explicit RepetitionMender(std::vector<std::uint16_t>& ring) : ring_(ring) {}

  void mend_all() {
    for (bool was_mended = true; was_mended;) {
      was_mended = false;
      for (std::size_t index = 0; index < ring_.size(); ++index) {
        if (at(index) == at(index + 1)) {
          mend_behind(index);
          was_mended = true;
        }
      }
    }
  }

 private:
  std::uint16_t at(std::size_t index) const { return ring_[index % ring_.size()]; }

  // Moves the entry behind index to the next place between two others. There is one: with at most
  // half of the entries, the provider cannot stand beside all of the rest. So every call leaves one
  // repetition less.
  void mend_behind(std::size_t index) {
    const std::size_t size = ring_.size();
    const std::uint16_t provider = at(index);
    ring_.erase(ring_.begin() + static_cast<std::ptrdiff_t>((index + 1) % size));
    for (std::size_t step = index + 1; step < index + 1 + size; ++step) {
      if (at(step) != provider && at(step + 1) != provider) {
        const std::size_t before = (step + 1) % ring_.size();
        ring_.insert(ring_.begin() + static_cast<std::ptrdiff_t>(before), provider);
        return;
      }
    }
    assert(false && "has more than half");
  }

  std::vector<std::uint16_t>& ring_;
};

}  // namespace

Placement::Placement(std::span<const std::uint64_t> capacities_bytes) {
  assert(capacities_bytes.size() <= kMaxProviders);
  const std::vector<std::uint64_t> weights = weights_of(capacities_bytes);
  std::vector<Entry> entries;
  for (std::size_t provider = 0; provider < weights.size(); ++provider) {
    for (std::uint64_t turn = 0; turn < weights[provider]; ++turn) {
      entries.push_back({turn, weights[provider], static_cast<std::uint16_t>(provider)});
    }
  }
  std::sort(entries.begin(), entries.end(), is_due_before);
  sequence_.reserve(entries.size());
  for (const Entry& entry : entries) {
    sequence_.push_back(entry.provider);
  }

  // A provider with more than half of the entries has to repeat, and one alone as well.
  const std::uint64_t heaviest =
      weights.empty() ? 0 : *std::max_element(weights.begin(), weights.end());
  if (heaviest * 2 > sequence_.size()) {
    return;
  }
  RepetitionMender(sequence_).mend_all();
}

}  // namespace rram
