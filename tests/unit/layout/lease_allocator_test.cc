#include "fusefs/layout/lease_allocator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/unit/layout/seeded_random.h"

namespace rram {
namespace {

const Geometry kGeometry = Geometry::make(kDefaultStripeUnitBytes).value();

std::uint64_t taken(LeaseAllocator& allocator, unsigned order) {
  const auto run = allocator.allocate(order);
  EXPECT_TRUE(run.has_value());
  return run ? run->granule : ~std::uint64_t{0};
}

TEST(LeaseAllocator, lowest_address_comes_first) {
  LeaseAllocator allocator(kGeometry, 4);
  EXPECT_EQ(taken(allocator, 6), 0U);
  EXPECT_EQ(taken(allocator, 6), 64U);
  allocator.free({0, 6});
  EXPECT_EQ(taken(allocator, 0), 0U);
  EXPECT_EQ(taken(allocator, 0), 1U);
  EXPECT_EQ(taken(allocator, 2), 4U);
  EXPECT_EQ(taken(allocator, 1), 2U);
}

TEST(LeaseAllocator, fresh_unit_is_carved_only_when_no_carved_one_will_do) {
  LeaseAllocator allocator(kGeometry, 4);
  EXPECT_EQ(taken(allocator, 5), 0U);
  EXPECT_EQ(taken(allocator, 6), 64U);
  EXPECT_EQ(taken(allocator, 5), 32U);
  EXPECT_EQ(taken(allocator, 5), 128U);
}

TEST(LeaseAllocator, best_fit_leaves_large_runs_whole) {
  LeaseAllocator allocator(kGeometry, 4);
  for (unsigned unit = 0; unit < 3; ++unit) {
    taken(allocator, 6);
  }
  allocator.free({0, 5});        // unit 0 has a run of 32
  allocator.free({64 + 8, 1});   // unit 1 one of 2
  allocator.free({128 + 4, 2});  // unit 2 one of 4
  EXPECT_EQ(taken(allocator, 1), 72U);
  EXPECT_EQ(taken(allocator, 1), 132U);
  EXPECT_EQ(taken(allocator, 5), 0U);
}

TEST(LeaseAllocator, smallest_run_inside_a_unit_is_taken) {
  LeaseAllocator allocator(kGeometry, 1);
  taken(allocator, 6);
  allocator.free({0, 4});
  allocator.free({33, 0});
  EXPECT_EQ(taken(allocator, 0), 33U);
}

TEST(LeaseAllocator, part_of_a_used_run_can_be_freed_and_used_again) {
  LeaseAllocator allocator(kGeometry, 1);
  taken(allocator, 6);
  EXPECT_EQ(allocator.free_granules(), 0U);
  allocator.free({48, 4});
  EXPECT_EQ(allocator.free_granules(), 16U);
  EXPECT_EQ(taken(allocator, 4), 48U);
}

TEST(LeaseAllocator, unit_is_whole_again_when_all_its_parts_are_free) {
  LeaseAllocator allocator(kGeometry, 1);
  for (unsigned count = 0; count < 64; ++count) {
    taken(allocator, 0);
  }
  EXPECT_FALSE(allocator.allocate(0).has_value());
  for (unsigned granule = 0; granule < 64; ++granule) {
    EXPECT_FALSE(allocator.allocate(6).has_value());
    allocator.free({(granule * 37) % 64, 0});
  }
  EXPECT_EQ(taken(allocator, 6), 0U);
}

TEST(LeaseAllocator, grows_in_place_into_free_room_only) {
  LeaseAllocator allocator(kGeometry, 2);
  taken(allocator, 0);  // 0
  EXPECT_TRUE(allocator.can_grow_in_place({0, 0}, 6));
  EXPECT_TRUE(allocator.grow_in_place({0, 0}, 3));
  EXPECT_EQ(allocator.free_granules(), 128U - 8U);
  taken(allocator, 3);                                   // 8
  EXPECT_FALSE(allocator.grow_in_place({0, 3}, 4));      // 8 is used
  EXPECT_FALSE(allocator.can_grow_in_place({8, 3}, 4));  // 8 is not aligned for 16
  allocator.free({8, 3});
  EXPECT_TRUE(allocator.grow_in_place({0, 3}, 6));
  EXPECT_EQ(allocator.free_granules(), 64U);
}

TEST(LeaseAllocator, grow_in_a_wholly_used_unit_is_refused) {
  LeaseAllocator allocator(kGeometry, 1);
  taken(allocator, 5);
  taken(allocator, 5);
  EXPECT_FALSE(allocator.grow_in_place({0, 5}, 6));
}

TEST(LeaseAllocatorDeathTest, double_free_asserts) {
  LeaseAllocator allocator(kGeometry, 2);
  taken(allocator, 2);
  allocator.free({0, 2});
  EXPECT_DEATH(allocator.free({0, 2}), "freed twice");
  taken(allocator, 0);
  taken(allocator, 0);
  allocator.free({1, 0});
  EXPECT_DEATH(allocator.free({0, 1}), "freed twice");
  EXPECT_DEATH(allocator.free({64, 6}), "freed twice");
}

TEST(LeaseAllocator, two_tebibytes_of_small_units_work) {
  const Geometry geometry = Geometry::make(kMinStripeUnitBytes).value();
  const std::uint64_t units = (std::uint64_t{2} << 40U) / kMinStripeUnitBytes;
  LeaseAllocator allocator(geometry, units);
  EXPECT_EQ(allocator.total_granules(), std::uint64_t{1} << 29U);
  EXPECT_EQ(taken(allocator, 2), 0U);
  allocator.free({0, 2});
  EXPECT_EQ(allocator.free_granules(), std::uint64_t{1} << 29U);
}

// Against a bitmap: every answer is checked, above all that "no" is said only when it is true.
class NaiveLease {
 public:
  NaiveLease(std::size_t granules, unsigned max_order)
      : is_free_(granules, true), max_order_(max_order) {}

  bool is_free(std::uint64_t granule, unsigned order) const {
    for (std::uint64_t g = granule; g < granule + (1U << order); ++g) {
      if (!is_free_[g]) {
        return false;
      }
    }
    return true;
  }
  bool has_free_run(unsigned order) const {
    for (std::uint64_t g = 0; g < is_free_.size(); g += 1U << order) {
      if (is_free(g, order)) {
        return true;
      }
    }
    return false;
  }
  bool can_grow(GranuleRun run, unsigned order) const {
    const std::uint64_t behind = run.granule + (1U << run.order);
    if (run.granule % (1U << order) != 0) {
      return false;
    }
    for (std::uint64_t g = behind; g < run.granule + (1U << order); ++g) {
      if (!is_free_[g]) {
        return false;
      }
    }
    return true;
  }
  void set(GranuleRun run, bool is_free) {
    for (std::uint64_t g = run.granule; g < run.granule + (1U << run.order); ++g) {
      is_free_[g] = is_free;
    }
  }
  std::uint64_t free_granules() const {
    return static_cast<std::uint64_t>(std::count(is_free_.begin(), is_free_.end(), true));
  }
  unsigned max_order() const { return max_order_; }

 private:
  std::vector<bool> is_free_;
  unsigned max_order_;
};

class AllocatorModel : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(AllocatorModel, agrees_with_a_bitmap) {
  SeededRandom random;
  const Geometry geometry = Geometry::make(GetParam()).value();
  const std::uint64_t units = 6;
  LeaseAllocator allocator(geometry, units);
  NaiveLease naive(units << geometry.max_order(), geometry.max_order());
  std::vector<GranuleRun> runs;
  // The wish to allocate rises and falls, so that full and empty are both visited.
  for (unsigned step = 0; step < 40'000; ++step) {
    const bool fills = (step / 500) % 2 == 0;
    const unsigned dice = random.below(10);
    if (dice < (fills ? 6U : 3U)) {
      const unsigned order = random.below(naive.max_order() + 1);
      const auto run = allocator.allocate(order);
      ASSERT_EQ(run.has_value(), naive.has_free_run(order));
      if (run) {
        ASSERT_EQ(run->granule % (1U << order), 0U);
        ASSERT_TRUE(naive.is_free(run->granule, order));
        naive.set(*run, false);
        runs.push_back(*run);
      }
    } else if (!runs.empty()) {
      GranuleRun& run = runs[random.below(runs.size())];
      if (dice == 9) {
        const unsigned order = run.order + random.below(naive.max_order() - run.order + 1);
        const bool can_grow = naive.can_grow(run, order);
        ASSERT_EQ(allocator.can_grow_in_place(run, order), can_grow);
        ASSERT_EQ(allocator.grow_in_place(run, order), can_grow);
        if (can_grow) {
          run.order = order;
          naive.set(run, false);
        }
      } else if (dice == 8 && run.order > 0) {
        --run.order;  // keeps the lower half
        const GranuleRun upper{run.granule + (1U << run.order), run.order};
        allocator.free(upper);
        naive.set(upper, true);
      } else {
        allocator.free(run);
        naive.set(run, true);
        run = runs.back();
        runs.pop_back();
      }
    }
    ASSERT_EQ(allocator.free_granules(), naive.free_granules());
  }
  for (const GranuleRun& run : runs) {
    allocator.free(run);
  }
  EXPECT_EQ(allocator.free_granules(), allocator.total_granules());
  for (unsigned unit = 0; unit < units; ++unit) {
    EXPECT_TRUE(allocator.allocate(geometry.max_order()).has_value());
  }
}

INSTANTIATE_TEST_SUITE_P(Units, AllocatorModel,
                         ::testing::Values(kMinStripeUnitBytes, 64 * 1024, kDefaultStripeUnitBytes,
                                           kMaxStripeUnitBytes));

}  // namespace
}  // namespace rram
