#include "fusefs/layout/geometry.h"

#include <gtest/gtest.h>

#include "fusefs/layout/block.h"
#include "fusefs/layout/index_set.h"

namespace rram {
namespace {

TEST(Geometry, refuses_units_that_are_not_a_power_of_two_in_range) {
  for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{8192}, std::uint64_t{24 * 1024},
                                    std::uint64_t{8} << 20U, ~std::uint64_t{0}}) {
    const auto geometry = Geometry::make(bytes);
    ASSERT_FALSE(geometry.has_value()) << bytes;
    EXPECT_EQ(geometry.error().code, ErrorCode::kInvalidArgument);
    EXPECT_FALSE(geometry.error().message.empty());
  }
}

TEST(Geometry, granules_of_a_unit_fit_one_mask) {
  for (std::uint64_t bytes = kMinStripeUnitBytes; bytes <= kMaxStripeUnitBytes; bytes *= 2) {
    const Geometry geometry = Geometry::make(bytes).value();
    EXPECT_GE(geometry.granule_bytes(), kMinGranuleBytes);
    EXPECT_LE(geometry.granules_per_unit(), kMaxGranulesPerUnit);
    EXPECT_EQ(geometry.granule_bytes() * geometry.granules_per_unit(), bytes);
  }
}

TEST(Geometry, names_slot_and_granule_of_a_byte) {
  const Geometry geometry = Geometry::make(kDefaultStripeUnitBytes).value();
  const std::uint64_t offset = 3 * kDefaultStripeUnitBytes + 5 * 4096 + 7;
  EXPECT_EQ(geometry.slot_of(offset), 3U);
  EXPECT_EQ(geometry.granule_in_slot(offset), 5U);
  EXPECT_EQ(geometry.offset_in_granule(offset), 7U);
  EXPECT_EQ(geometry.granule_floor(offset), offset - 7);
  EXPECT_EQ(geometry.granule_ceil(offset), offset - 7 + 4096);
  EXPECT_EQ(geometry.granule_ceil(offset - 7), offset - 7);
}

TEST(Geometry, order_is_the_smallest_that_holds_the_granules) {
  const Geometry geometry = Geometry::make(kDefaultStripeUnitBytes).value();
  EXPECT_EQ(geometry.order_for(1), 0U);
  EXPECT_EQ(geometry.order_for(2), 1U);
  EXPECT_EQ(geometry.order_for(3), 2U);
  EXPECT_EQ(geometry.order_for(33), 6U);
  EXPECT_EQ(geometry.order_for(64), 6U);
}

TEST(GranuleMask, covers_its_bits_at_both_ends) {
  EXPECT_EQ(granule_mask(0, 64), ~std::uint64_t{0});
  EXPECT_EQ(granule_mask(0, 0), 0U);
  EXPECT_EQ(granule_mask(64, 64), 0U);
  EXPECT_EQ(granule_mask(63, 64), std::uint64_t{1} << 63U);
  EXPECT_EQ(granule_mask(1, 3), 6U);
}

TEST(Block, keeps_its_parts_at_their_limits) {
  const std::uint64_t granule = kMaxLeaseGranules - 64;
  const Block block(kMaxProviders - 1, kMaxOrder, granule);
  EXPECT_EQ(block.provider(), kMaxProviders - 1);
  EXPECT_EQ(block.order(), kMaxOrder);
  EXPECT_EQ(block.granule(), granule);
  EXPECT_EQ(block.granules(), 64U);
  EXPECT_FALSE(block.is_none());
  EXPECT_FALSE(block.is_split_mark());
  EXPECT_TRUE(Block().is_none());
  EXPECT_TRUE(Block::split_mark().is_split_mark());
  EXPECT_FALSE(Block::split_mark().is_none());
}

TEST(Block, halves_and_singles_are_its_parts) {
  const Block block(7, 3, 16);
  EXPECT_EQ(block.lower_half(), Block(7, 2, 16));
  EXPECT_EQ(block.upper_half(), Block(7, 2, 20));
  EXPECT_EQ(block.single(5), Block(7, 0, 21));
}

TEST(IndexSet, lowest_is_found_over_all_levels) {
  for (const std::uint64_t size : {2U, 63U, 64U, 65U, 4096U, 4097U, 300000U}) {
    IndexSet set(size);
    EXPECT_TRUE(set.empty());
    EXPECT_FALSE(set.contains(size - 1));
    set.insert(size - 1);
    EXPECT_EQ(set.lowest(), size - 1);
    set.insert(0);
    EXPECT_EQ(set.lowest(), 0U);
    set.erase(0);
    EXPECT_EQ(set.lowest(), size - 1);
    set.erase(size - 1);
    EXPECT_TRUE(set.empty());
    EXPECT_EQ(set.lowest(), std::nullopt);
  }
}

TEST(IndexSet, fill_has_every_index_and_no_other) {
  for (const std::uint64_t size : {1U, 64U, 65U, 4097U}) {
    IndexSet set(size);
    set.fill();
    for (std::uint64_t index = 0; index < size; ++index) {
      ASSERT_EQ(set.lowest(), index);
      set.erase(index);
    }
    EXPECT_TRUE(set.empty());
  }
}

}  // namespace
}  // namespace rram
