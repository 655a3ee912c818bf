#include "fusefs/layout/slot_map.h"

#include <gtest/gtest.h>

#include <map>
#include <utility>
#include <vector>

#include "tests/unit/layout/seeded_random.h"

namespace rram {
namespace {

Block block_for(std::uint64_t number) { return {static_cast<unsigned>(number % 7), 0, number}; }

TEST(SlotMap, only_slot_zero_needs_no_more_than_the_object) {
  SlotMap map;
  EXPECT_EQ(map.find(0), nullptr);
  map.obtain(0, block_for(1)).written = 5;
  ASSERT_NE(map.find(0), nullptr);
  EXPECT_EQ(map.find(0)->written, 5U);
  EXPECT_EQ(sizeof(SlotMap), 24U);
  map.erase(0);
  EXPECT_EQ(map.find(0), nullptr);
}

TEST(SlotMap, obtain_leaves_what_is_there) {
  SlotMap map;
  map.obtain(9, block_for(1)).written = 3;
  EXPECT_EQ(map.obtain(9, block_for(2)).block, block_for(1));
  EXPECT_EQ(map.find(9)->written, 3U);
}

TEST(SlotMap, split_takes_the_block_apart) {
  SlotMap map;
  map.obtain(70, Block(3, 2, 8)).written = 0b101;
  const SplitGranules& granules = map.split(70);
  EXPECT_TRUE(map.find(70)->is_split());
  EXPECT_EQ(map.find(70)->written, 0b101U);
  for (unsigned g = 0; g < 4; ++g) {
    EXPECT_EQ(granules[g], Block(3, 0, 8 + g));
  }
  EXPECT_TRUE(granules[4].is_none());
  EXPECT_EQ(map.find_split(70), &granules);
  map.erase(70);
  EXPECT_EQ(map.find_split(70), nullptr);
}

TEST(SlotMap, split_of_an_empty_slot_has_no_granules) {
  SlotMap map;
  EXPECT_TRUE(map.split(0)[0].is_none());
  EXPECT_TRUE(map.find(0)->is_split());
  map.erase(0);
  EXPECT_EQ(map.find_split(0), nullptr);
  EXPECT_EQ(map.find(0), nullptr);
}

// Against std::map, with slots that crowd some leaves and pages and lie far apart otherwise.
class SlotMapModel : public ::testing::Test {
 protected:
  std::uint64_t some_slot() {
    switch (random.below(4)) {
      case 0:
        return random.below(130);
      case 1:
        return 4096 - 70 + random.below(140);
      case 2:
        return random.below(20'000);
      default:
        return std::uint64_t{random.below(40)} << (20 + random.below(20));
    }
  }
  void expect_same_from(std::uint64_t from) {
    const auto next = model.lower_bound(from);
    const auto found = map.next_used(from);
    ASSERT_EQ(found.has_value(), next != model.end());
    if (found) {
      ASSERT_EQ(*found, next->first);
    }
    std::vector<std::pair<std::uint64_t, std::uint64_t>> visited;
    map.for_each_from(from, [&](std::uint64_t slot, const Slot& entry) {
      visited.emplace_back(slot, entry.block.granule());
    });
    const std::vector<std::pair<std::uint64_t, std::uint64_t>> expected(next, model.end());
    ASSERT_EQ(visited, expected);
  }

  SeededRandom random;
  SlotMap map;
  std::map<std::uint64_t, std::uint64_t> model;
};

TEST_F(SlotMapModel, agrees_with_an_ordered_map) {
  for (unsigned step = 0; step < 60'000; ++step) {
    const std::uint64_t slot = some_slot();
    const unsigned dice = random.below(1000);
    if (dice < 500) {
      model.emplace(slot, step);
      map.obtain(slot, block_for(step));
    } else if (dice < 995) {
      const auto next = model.lower_bound(slot);
      if (next != model.end()) {
        map.erase(next->first);
        model.erase(next);
      }
    } else {
      while (const auto next = map.next_used(slot)) map.erase(*next);
      model.erase(model.lower_bound(slot), model.end());
    }
    const std::uint64_t other = some_slot();
    const Slot* found = map.find(other);
    const auto expected = model.find(other);
    ASSERT_EQ(found != nullptr, expected != model.end());
    if (found != nullptr) {
      ASSERT_EQ(found->block, block_for(expected->second));
    }
    if (step % 64 == 0) {
      expect_same_from(some_slot());
      expect_same_from(0);
    }
  }
}

}  // namespace
}  // namespace rram
