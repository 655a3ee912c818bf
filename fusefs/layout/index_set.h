// A set of integers [0, size) with its lowest member at hand: a bitmap under bitmaps.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace rram {

// One bit per possible member plus 1/63 for the summaries, and nothing at all before the first
// insert. Every operation costs one step per level: four levels reach 16 M members. A value type.
class IndexSet {
 public:
  explicit IndexSet(std::uint64_t size) : size_(size) {}

  std::uint64_t size() const { return size_; }
  bool empty() const { return levels_.empty() || levels_.back().front() == 0; }
  bool contains(std::uint64_t index) const;
  std::optional<std::uint64_t> lowest() const;

  void insert(std::uint64_t index);
  void erase(std::uint64_t index);
  // Every index becomes a member.
  void fill();

 private:
  using Words = std::vector<std::uint64_t>;

  void make_levels();

  std::uint64_t size_;
  // levels_[0] has one bit per index, levels_[n + 1] one bit per word of levels_[n] that is
  // not zero; the last level is one word.
  std::vector<Words> levels_;
};

}  // namespace rram
