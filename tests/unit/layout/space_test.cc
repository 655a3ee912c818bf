#include "fusefs/layout/space.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "fusefs/layout/placement.h"

namespace rram {
namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;
constexpr std::uint64_t kGiB = 1024 * kMiB;
constexpr unsigned kUnitOrder = 6;

Geometry default_geometry() { return Geometry::make(kDefaultStripeUnitBytes).value(); }

std::map<unsigned, std::uint64_t> counts_of(const Placement& placement) {
  std::map<unsigned, std::uint64_t> counts;
  for (const unsigned provider : placement.sequence()) {
    ++counts[provider];
  }
  return counts;
}

std::size_t repeats_of(const Placement& placement) {
  const auto sequence = placement.sequence();
  std::size_t repeats = 0;
  for (std::size_t index = 0; index < sequence.size(); ++index) {
    repeats += sequence[index] == sequence[(index + 1) % sequence.size()] ? 1 : 0;
  }
  return repeats;
}

TEST(Placement, equal_capacities_are_plain_round_robin) {
  const std::vector<std::uint64_t> capacities(5, 14 * kGiB);
  const Placement placement(capacities);
  for (std::uint32_t start = 0; start < 7; ++start) {
    for (std::uint64_t slot = 0; slot < 20; ++slot) {
      ASSERT_EQ(placement.provider_for(start, slot), (start + slot) % 5);
    }
  }
}

TEST(Placement, shares_follow_capacity) {
  const std::vector<std::uint64_t> capacities{10 * kGiB, 30 * kGiB, 20 * kGiB, 0, 5 * kGiB};
  auto counts = counts_of(Placement(capacities));
  EXPECT_EQ(counts[1], 3 * counts[0]);
  EXPECT_EQ(counts[2], 2 * counts[0]);
  EXPECT_EQ(counts[0], 2 * counts[4]);
  EXPECT_EQ(counts.count(3), 0U);
}

TEST(Placement, shares_of_odd_capacities_are_right_to_two_percent) {
  const std::vector<std::uint64_t> capacities{7 * kGiB + 4096, 9 * kGiB + 12345 * 4096,
                                              11 * kGiB + 17 * 4096, 3 * kGiB + 4096 * 3};
  double total_bytes = 0;
  for (const std::uint64_t bytes : capacities) {
    total_bytes += static_cast<double>(bytes);
  }
  const Placement placement(capacities);
  for (const auto& [provider, count] : counts_of(placement)) {
    const double share =
        static_cast<double>(count) / static_cast<double>(placement.sequence().size());
    EXPECT_NEAR(share, static_cast<double>(capacities[provider]) / total_bytes, 0.02);
  }
}

TEST(Placement, no_provider_comes_twice_in_a_row_unless_it_has_more_than_half) {
  const std::vector<std::vector<std::uint64_t>> cases{{2, 1, 1},
                                                      {1, 1},
                                                      {3, 2, 1},
                                                      {5, 5, 1},
                                                      {10, 30, 20, 5},
                                                      {4, 1, 1, 1, 1},
                                                      {7, 6, 5, 4, 3, 2, 1}};
  for (const auto& capacities : cases) {
    EXPECT_EQ(repeats_of(Placement(capacities)), 0U) << capacities.front();
  }
  EXPECT_EQ(repeats_of(Placement(std::vector<std::uint64_t>{3, 1})), 2U);
}

TEST(Placement, every_stretch_of_the_sequence_has_about_its_share) {
  const std::vector<std::uint64_t> capacities{1, 2, 3, 4};
  const Placement placement(capacities);
  const auto sequence = placement.sequence();
  ASSERT_EQ(sequence.size(), 10U);
  for (std::size_t start = 0; start < 10; ++start) {
    unsigned of_last = 0;
    for (std::size_t step = 0; step < 5; ++step) {
      of_last += sequence[(start + step) % 10] == 3 ? 1 : 0;
    }
    EXPECT_GE(of_last, 1U);
    EXPECT_LE(of_last, 3U);
  }
}

TEST(Placement, a_thousand_providers_of_any_size_all_take_part) {
  std::vector<std::uint64_t> capacities;
  capacities.reserve(kMaxProviders);
  for (std::uint64_t provider = 0; provider < kMaxProviders; ++provider) {
    capacities.push_back((std::uint64_t{1} << (22 + provider % 20)) + provider * 4096);
  }
  EXPECT_EQ(counts_of(Placement(capacities)).size(), std::size_t{kMaxProviders});
}

TEST(Placement, one_provider_or_none) {
  EXPECT_TRUE(Placement().empty());
  EXPECT_TRUE(Placement(std::vector<std::uint64_t>{0, 0}).empty());
  EXPECT_EQ(Placement(std::vector<std::uint64_t>{kGiB}).provider_for(9, 1000), 0U);
}

TEST(Space, refuses_leases_that_do_not_fit_the_volume) {
  Space space(default_geometry());
  EXPECT_FALSE(space.add_lease(kMaxProviders, 2 * kMiB, 1));
  EXPECT_FALSE(space.add_lease(0, 3 * kMiB, 1));
  EXPECT_FALSE(space.add_lease(0, kDefaultStripeUnitBytes / 2, 1));
  EXPECT_FALSE(space.add_lease(0, 2 * kMiB, 0));
  EXPECT_FALSE(space.add_lease(0, kGiB, ~std::uint64_t{0}));
  EXPECT_TRUE(space.add_lease(0, 2 * kMiB, 1));
  EXPECT_FALSE(space.add_lease(0, 2 * kMiB, 1));
  EXPECT_EQ(space.total_bytes(), 2 * kMiB);
}

TEST(Space, consecutive_slots_go_to_different_providers) {
  Space space(default_geometry());
  for (unsigned provider = 0; provider < 3; ++provider) {
    ASSERT_TRUE(space.add_lease(provider, 2 * kMiB, 2));
  }
  for (std::uint64_t slot = 0; slot < 6; ++slot) {
    EXPECT_EQ(space.allocate(kUnitOrder, 1, slot)->provider(), (1 + slot) % 3);
  }
}

TEST(Space, full_provider_means_no_enospc_while_others_have_room) {
  Space space(default_geometry());
  ASSERT_TRUE(space.add_lease(0, 2 * kMiB, 1));
  ASSERT_TRUE(space.add_lease(1, 2 * kMiB, 4));
  ASSERT_TRUE(space.add_lease(2, 2 * kMiB, 1));
  std::uint64_t blocks = 0;
  while (space.allocate(kUnitOrder, 0, blocks)) {
    ++blocks;
  }
  EXPECT_EQ(blocks * kDefaultStripeUnitBytes, space.total_bytes());
  EXPECT_EQ(space.free_bytes(), 0U);
  EXPECT_FALSE(space.allocate(0, 0, 0));
}

TEST(Space, share_of_a_full_provider_is_spread_over_all_others) {
  Space space(default_geometry());
  for (unsigned provider = 0; provider < 4; ++provider) {
    ASSERT_TRUE(space.add_lease(provider, 64 * kMiB, 1));
  }
  space.set_usable(0, false);
  std::map<unsigned, unsigned> taken;
  for (std::uint64_t slot = 0; slot < 4 * 240; slot += 4) {
    ++taken[space.allocate(kUnitOrder, 0, slot)->provider()];
  }
  EXPECT_EQ(taken.count(0), 0U);
  for (unsigned provider = 1; provider < 4; ++provider) {
    EXPECT_GE(taken[provider], 40U);
  }
}

TEST(Space, unusable_provider_gets_nothing_and_its_free_memory_does_not_count) {
  Space space(default_geometry());
  ASSERT_TRUE(space.add_lease(0, 2 * kMiB, 1));
  ASSERT_TRUE(space.add_lease(1, 2 * kMiB, 1));
  const Block on_dead = *space.allocate(0, 0, 0);
  ASSERT_EQ(on_dead.provider(), 0U);
  space.set_usable(0, false);
  space.set_usable(0, false);
  EXPECT_EQ(space.total_bytes(), 4 * kMiB);
  EXPECT_EQ(space.free_bytes(), 2 * kMiB);
  EXPECT_EQ(space.allocate(0, 0, 0)->provider(), 1U);
  EXPECT_FALSE(space.can_grow_in_place(on_dead, 1));
  EXPECT_FALSE(space.grow_in_place(on_dead, 1));
  space.free(on_dead);
  EXPECT_EQ(space.used_bytes(0), 0U);
  EXPECT_EQ(space.free_bytes(), 2 * kMiB - 4096);
  space.set_usable(0, true);
  EXPECT_EQ(space.free_bytes(), 4 * kMiB - 4096);
}

TEST(Space, leases_may_come_in_any_order) {
  Space space(default_geometry());
  EXPECT_FALSE(space.allocate(0, 0, 0));
  ASSERT_TRUE(space.add_lease(5, 2 * kMiB, 1));
  EXPECT_FALSE(space.is_usable(0));
  EXPECT_FALSE(space.is_usable(2000));
  EXPECT_EQ(space.allocate(0, 0, 0)->provider(), 5U);
  ASSERT_TRUE(space.add_lease(0, 2 * kMiB, 1));
  EXPECT_EQ(space.allocate(0, 0, 0)->provider(), 0U);
  EXPECT_EQ(space.used_bytes(5), 4096U);
  EXPECT_EQ(space.capacity_bytes(5), 2 * kMiB);
  EXPECT_EQ(space.capacity_bytes(3), 0U);
}

TEST(Space, place_of_a_granule_is_in_the_region_that_holds_it) {
  Space space(default_geometry());
  ASSERT_TRUE(space.add_lease(0, 2 * kMiB, 4));
  ASSERT_TRUE(space.add_lease(1, 64 * kMiB, 4));
  const std::uint64_t granule = 3 * 512 + 5;  // 512 granules make 2 MiB
  EXPECT_EQ(space.place_of(0, granule), (Place{0, 3, 5 * 4096}));
  EXPECT_EQ(space.place_of(1, granule), (Place{1, 0, granule * 4096}));
  EXPECT_EQ(space.granule_of({0, 3, 5 * 4096 + 17}), granule);
  EXPECT_EQ(space.granule_of({1, 0, granule * 4096}), granule);
}

TEST(Space, every_granule_can_be_had_one_by_one) {
  Space space(default_geometry());
  ASSERT_TRUE(space.add_lease(0, 2 * kMiB, 1));
  ASSERT_TRUE(space.add_lease(1, 4 * kMiB, 1));
  std::uint64_t granules = 0;
  while (space.allocate(0, 0, granules)) {
    ++granules;
  }
  EXPECT_EQ(granules * 4096, 6 * kMiB);
}

TEST(Space, a_thousand_leases_come_in_quickly) {
  Space space(default_geometry());
  for (unsigned provider = 0; provider < kMaxProviders; ++provider) {
    ASSERT_TRUE(space.add_lease(provider, kGiB, 1 + provider % 7));
  }
  std::set<unsigned> providers;
  for (std::uint64_t slot = 0; slot < 20'000; ++slot) {
    providers.insert(space.allocate(kUnitOrder, 0, slot)->provider());
  }
  EXPECT_EQ(providers.size(), std::size_t{kMaxProviders});
}

}  // namespace
}  // namespace rram
