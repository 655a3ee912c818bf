#include "fusefs/layout/index_set.h"

#include <bit>
#include <cassert>

namespace rram {

namespace {

constexpr std::uint64_t kWordBits = 64;

std::uint64_t bit_of(std::uint64_t index) { return std::uint64_t{1} << (index % kWordBits); }

}  // namespace

bool IndexSet::contains(std::uint64_t index) const {
  assert(index < size_);
  return !levels_.empty() && (levels_.front()[index / kWordBits] & bit_of(index)) != 0;
}

std::optional<std::uint64_t> IndexSet::lowest() const {
  if (empty()) {
    return std::nullopt;
  }
  std::uint64_t index = 0;
  for (auto level = levels_.rbegin(); level != levels_.rend(); ++level) {
    index = index * kWordBits + static_cast<unsigned>(std::countr_zero((*level)[index]));
  }
  return index;
}

void IndexSet::insert(std::uint64_t index) {
  assert(index < size_);
  if (levels_.empty()) {
    make_levels();
  }
  for (Words& words : levels_) {
    std::uint64_t& word = words[index / kWordBits];
    const bool was_summarised = word != 0;
    word |= bit_of(index);
    if (was_summarised) {
      return;
    }
    index /= kWordBits;
  }
}

void IndexSet::erase(std::uint64_t index) {
  assert(contains(index));
  for (Words& words : levels_) {
    std::uint64_t& word = words[index / kWordBits];
    word &= ~bit_of(index);
    if (word != 0) {
      return;
    }
    index /= kWordBits;
  }
}

void IndexSet::fill() {
  if (size_ == 0) {
    return;
  }
  make_levels();
  std::uint64_t members = size_;
  for (Words& words : levels_) {
    words.assign(words.size(), ~std::uint64_t{0});
    if (members % kWordBits != 0) {
      words.back() = bit_of(members) - 1;
    }
    members = words.size();
  }
}

void IndexSet::make_levels() {
  levels_.clear();
  std::uint64_t members = size_;
  do {
    members = (members + kWordBits - 1) / kWordBits;
    levels_.emplace_back(members, std::uint64_t{0});
  } while (members > 1);
}

}  // namespace rram
