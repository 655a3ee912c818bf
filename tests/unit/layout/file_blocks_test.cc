#include "fusefs/layout/file_blocks.h"

#include <gtest/gtest.h>

#include <vector>

namespace rram {
namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;
constexpr std::uint64_t kUnit = kDefaultStripeUnitBytes;
constexpr std::uint64_t kGranule = 4096;

// A volume of three providers of 2 MiB (8 units) each, and one file. Plans count as carried out.
class FileBlocksTest : public ::testing::Test {
 protected:
  FileBlocksTest() {
    for (unsigned provider = 0; provider < 3; ++provider) {
      EXPECT_TRUE(space.add_lease(provider, 2 * kMiB, 1));
    }
  }

  // False: no space.
  bool write(std::uint64_t offset, std::uint64_t length) {
    if (!file.plan_write(offset, length, space, plan)) {
      return false;
    }
    moves = plan.moves.size();
    file.commit_moves(plan, freed);
    file.commit_write(plan, space);
    return true;
  }
  const Pieces& read(std::uint64_t offset, std::uint64_t length) {
    file.plan_read(offset, length, space, read_plan);
    return read_plan.pieces;
  }
  // Leaves exactly so many granules free, all apart: no two of them make a run.
  void leave_free(unsigned granules) {
    std::vector<Block> all;
    while (const auto block = space.allocate(0, 0, 0)) {
      all.push_back(*block);
    }
    for (unsigned index = 0; index < granules; ++index) {
      space.free(all[index * 2]);
    }
    ASSERT_EQ(space.free_granules(), granules);
  }
  std::vector<unsigned> orders() const {
    std::vector<unsigned> result;
    file.for_each_block([&](std::uint64_t, unsigned, Block block, std::uint64_t) {
      result.push_back(block.order());
    });
    return result;
  }

  Geometry geometry = Geometry::make(kUnit).value();
  Space space{geometry};
  FileBlocks file;
  WritePlan plan;
  ReadPlan read_plan;
  BlockList freed;
  std::size_t moves = 0;
};

using Orders = std::vector<unsigned>;

TEST_F(FileBlocksTest, empty_file_reads_as_one_hole) {
  const Pieces& pieces = read(5, 10 * kUnit);
  ASSERT_EQ(pieces.size(), 1U);
  EXPECT_TRUE(pieces[0].is_hole);
  EXPECT_EQ(pieces[0].file_offset, 5U);
  EXPECT_EQ(pieces[0].length, 10 * kUnit);
  EXPECT_EQ(file.allocated_bytes(geometry), 0U);
}

TEST_F(FileBlocksTest, small_file_takes_a_small_block) {
  ASSERT_TRUE(write(0, 100));
  EXPECT_EQ(orders(), Orders{0});
  EXPECT_EQ(file.allocated_bytes(geometry), kGranule);
}

TEST_F(FileBlocksTest, first_slot_takes_the_power_of_two_that_covers_the_write) {
  ASSERT_TRUE(write(0, 5 * kGranule));
  EXPECT_EQ(orders(), Orders{3});
}

TEST_F(FileBlocksTest, later_slots_take_at_least_a_quarter) {
  ASSERT_TRUE(write(kUnit, 1));
  EXPECT_EQ(orders(), Orders{4});
}

TEST_F(FileBlocksTest, write_to_the_end_of_a_slot_takes_the_whole_unit) {
  ASSERT_TRUE(write(kUnit - 1, 2));
  EXPECT_EQ(orders(), (Orders{6, 4}));
}

TEST_F(FileBlocksTest, reader_sees_zeros_until_the_write_is_committed) {
  ASSERT_TRUE(file.plan_write(0, 2 * kGranule, space, plan));
  EXPECT_TRUE(read(0, 2 * kGranule)[0].is_hole);
  file.commit_write(plan, space);
  ASSERT_EQ(read(0, 2 * kGranule).size(), 1U);
  EXPECT_FALSE(read(0, 2 * kGranule)[0].is_hole);
}

TEST_F(FileBlocksTest, unwritten_granules_of_a_block_are_holes) {
  ASSERT_TRUE(write(4 * kGranule, 2 * kGranule));
  const Pieces& pieces = read(kGranule, 6 * kGranule);
  ASSERT_EQ(pieces.size(), 3U);
  EXPECT_TRUE(pieces[0].is_hole);
  EXPECT_EQ(pieces[0].length, 3 * kGranule);
  EXPECT_FALSE(pieces[1].is_hole);
  EXPECT_EQ(pieces[1].length, 2 * kGranule);
  EXPECT_EQ(pieces[1].place.region_offset, 4 * kGranule);
  EXPECT_TRUE(pieces[2].is_hole);
  EXPECT_EQ(pieces[2].length, kGranule);
}

TEST_F(FileBlocksTest, pieces_follow_the_providers_and_keep_the_byte_offset) {
  ASSERT_TRUE(write(0, 3 * kUnit));
  const Pieces& pieces = read(100, 2 * kUnit);
  ASSERT_EQ(pieces.size(), 3U);
  EXPECT_EQ(pieces[0].place, (Place{0, 0, 100}));
  EXPECT_EQ(pieces[0].length, kUnit - 100);
  EXPECT_EQ(pieces[1].place, (Place{1, 0, 0}));
  EXPECT_EQ(pieces[1].length, kUnit);
  EXPECT_EQ(pieces[2].place, (Place{2, 0, 0}));
  EXPECT_EQ(pieces[2].length, 100U);
}

TEST_F(FileBlocksTest, file_start_names_the_first_provider) {
  file = FileBlocks(2);
  ASSERT_TRUE(write(0, kUnit + 1));
  EXPECT_EQ(read(0, 1)[0].place.provider, 2U);
  EXPECT_EQ(read(kUnit, 1)[0].place.provider, 0U);
}

TEST_F(FileBlocksTest, partly_covered_new_granules_are_filled_with_zeros) {
  EXPECT_TRUE(file.write_needs_fill(100, 2 * kGranule, space));
  ASSERT_TRUE(file.plan_write(100, 2 * kGranule, space, plan));
  ASSERT_EQ(plan.fills.size(), 2U);
  EXPECT_EQ(plan.fills[0].file_offset, 0U);
  EXPECT_EQ(plan.fills[0].length, 100U);
  EXPECT_EQ(plan.fills[0].place, (Place{0, 0, 0}));
  EXPECT_EQ(plan.fills[1].file_offset, 2 * kGranule + 100);
  EXPECT_EQ(plan.fills[1].length, kGranule - 100);
  EXPECT_EQ(plan.fills[1].place, (Place{0, 0, 2 * kGranule + 100}));
}

TEST_F(FileBlocksTest, write_inside_one_new_granule_is_filled_on_both_sides) {
  ASSERT_TRUE(file.plan_write(kGranule + 10, 20, space, plan));
  ASSERT_EQ(plan.fills.size(), 2U);
  EXPECT_EQ(plan.fills[0].file_offset, kGranule);
  EXPECT_EQ(plan.fills[0].length, 10U);
  EXPECT_EQ(plan.fills[1].file_offset, kGranule + 30);
  EXPECT_EQ(plan.fills[1].length, kGranule - 30);
}

TEST_F(FileBlocksTest, written_or_whole_granules_need_no_fill) {
  EXPECT_FALSE(file.write_needs_fill(0, kGranule, space));
  ASSERT_TRUE(write(0, 2 * kGranule));
  EXPECT_FALSE(file.write_needs_fill(10, kGranule, space));
  ASSERT_TRUE(file.plan_write(10, kGranule, space, plan));
  EXPECT_TRUE(plan.fills.empty());
  EXPECT_FALSE(plan.has_unwritten);
}

TEST_F(FileBlocksTest, last_block_grows_in_place_when_the_room_behind_it_is_free) {
  ASSERT_TRUE(write(0, kGranule));
  EXPECT_FALSE(file.write_needs_move(kGranule, kGranule, space));
  ASSERT_TRUE(write(kGranule, kGranule));
  EXPECT_EQ(moves, 0U);
  EXPECT_TRUE(freed.empty());
  EXPECT_EQ(orders(), Orders{1});
  ASSERT_EQ(read(0, 2 * kGranule).size(), 1U);
}

TEST_F(FileBlocksTest, block_moves_when_it_cannot_grow_in_place) {
  ASSERT_TRUE(write(0, kGranule));
  // All granules next to it: what the allocator gives first.
  FileBlocks other;
  WritePlan other_plan;
  ASSERT_TRUE(other.plan_write(0, 1, space, other_plan));
  EXPECT_TRUE(file.write_needs_move(kGranule, kGranule, space));
  ASSERT_TRUE(file.plan_write(kGranule, kGranule, space, plan));
  ASSERT_EQ(plan.moves.size(), 1U);
  EXPECT_EQ(plan.moves[0].from, Block(0, 0, 0));
  EXPECT_EQ(plan.moves[0].to, Block(0, 1, 2));
  ASSERT_EQ(plan.copies.size(), 1U);
  EXPECT_EQ(plan.copies[0].from, (Place{0, 0, 0}));
  EXPECT_EQ(plan.copies[0].to, (Place{0, 0, 2 * kGranule}));
  EXPECT_EQ(plan.copies[0].length, kGranule);
  EXPECT_EQ(plan.pieces[0].place, (Place{0, 0, 3 * kGranule}));
  // Until the commit, the map is as it was.
  EXPECT_EQ(read(0, kGranule)[0].place, (Place{0, 0, 0}));

  file.commit_moves(plan, freed);
  file.commit_write(plan, space);
  ASSERT_EQ(freed.size(), 1U);
  EXPECT_EQ(freed[0], Block(0, 0, 0));
  EXPECT_EQ(file.allocated_bytes(geometry), 2 * kGranule);
  ASSERT_EQ(read(0, 2 * kGranule).size(), 1U);
  EXPECT_EQ(read(0, 2 * kGranule)[0].place, (Place{0, 0, 2 * kGranule}));
}

TEST_F(FileBlocksTest, only_written_granules_are_copied_by_a_move) {
  ASSERT_TRUE(write(3 * kGranule, kGranule));
  ASSERT_TRUE(write(kGranule, kGranule));
  const auto neighbour = space.allocate(2, 0, 0);
  ASSERT_TRUE(neighbour);
  ASSERT_TRUE(file.plan_write(4 * kGranule, 1, space, plan));
  ASSERT_EQ(plan.copies.size(), 2U);
  EXPECT_EQ(plan.copies[0].from.region_offset, kGranule);
  EXPECT_EQ(plan.copies[1].from.region_offset, 3 * kGranule);
}

TEST_F(FileBlocksTest, abandoned_plan_gives_the_new_blocks_of_moves_back) {
  ASSERT_TRUE(write(0, kGranule));
  ASSERT_TRUE(space.allocate(0, 0, 0));
  const std::uint64_t free_before = space.free_bytes();
  ASSERT_TRUE(file.plan_write(kGranule, kGranule, space, plan));
  EXPECT_LT(space.free_bytes(), free_before);
  FileBlocks::abandon(plan, space);
  EXPECT_EQ(space.free_bytes(), free_before);
  EXPECT_EQ(file.allocated_bytes(geometry), kGranule);
  EXPECT_FALSE(read(0, kGranule)[0].is_hole);
}

TEST_F(FileBlocksTest, commit_marks_only_memory_that_is_still_the_files) {
  ASSERT_TRUE(file.plan_write(0, kUnit, space, plan));
  file.clear(geometry, freed);
  WritePlan later;
  ASSERT_TRUE(file.plan_write(0, kUnit, space, later));
  file.commit_write(plan, space);
  EXPECT_TRUE(read(0, kUnit)[0].is_hole);
}

TEST_F(FileBlocksTest, commit_holds_for_a_block_that_grew_meanwhile) {
  ASSERT_TRUE(file.plan_write(0, kGranule, space, plan));
  WritePlan later;
  ASSERT_TRUE(file.plan_write(kGranule, kGranule, space, later));
  file.commit_write(plan, space);
  EXPECT_FALSE(read(0, kGranule)[0].is_hole);
  EXPECT_TRUE(read(kGranule, kGranule)[0].is_hole);
}

TEST_F(FileBlocksTest, commit_of_moves_frees_the_new_block_if_the_slot_changed) {
  ASSERT_TRUE(write(0, kGranule));
  ASSERT_TRUE(space.allocate(0, 0, 0));
  ASSERT_TRUE(file.plan_write(kGranule, kGranule, space, plan));
  const Block to = plan.moves.at(0).to;
  file.clear(geometry, freed);
  freed.clear();
  file.commit_moves(plan, freed);
  ASSERT_EQ(freed.size(), 1U);
  EXPECT_EQ(freed[0], to);
  file.commit_write(plan, space);
  EXPECT_EQ(file.allocated_bytes(geometry), 0U);
}

TEST_F(FileBlocksTest, fragmented_space_gives_single_granules) {
  leave_free(70);
  ASSERT_TRUE(write(0, kUnit));
  EXPECT_EQ(space.free_granules(), 6U);
  EXPECT_EQ(orders(), Orders(64, 0));
  EXPECT_EQ(file.allocated_bytes(geometry), kUnit);
  std::uint64_t next = 0;
  for (const Piece& piece : read(0, kUnit)) {
    EXPECT_FALSE(piece.is_hole);
    EXPECT_EQ(piece.file_offset, next);
    next += piece.length;
  }
  EXPECT_EQ(next, kUnit);
}

TEST_F(FileBlocksTest, existing_block_becomes_granules_without_a_copy) {
  ASSERT_TRUE(write(0, 2 * kGranule));
  leave_free(3);
  ASSERT_TRUE(file.plan_write(2 * kGranule, 3 * kGranule, space, plan));
  EXPECT_TRUE(plan.moves.empty());
  EXPECT_TRUE(plan.copies.empty());
  file.commit_write(plan, space);
  EXPECT_EQ(space.free_granules(), 0U);
  EXPECT_EQ(read(0, kGranule)[0].place, (Place{0, 0, 0}));
  EXPECT_FALSE(read(4 * kGranule, kGranule)[0].is_hole);
}

TEST_F(FileBlocksTest, granules_side_by_side_in_memory_are_one_piece) {
  // The free run of 32 cannot be a block that covers 40 granules.
  std::vector<Block> units;
  while (const auto block = space.allocate(6, 0, 0)) {
    units.push_back(*block);
  }
  space.free(units[0].lower_half());
  space.free(units[1].upper_half());
  ASSERT_TRUE(write(0, 40 * kGranule));
  EXPECT_EQ(orders(), Orders(40, 0));
  EXPECT_EQ(read(0, 40 * kGranule).size(), 2U);
}

TEST_F(FileBlocksTest, no_space_changes_nothing) {
  ASSERT_TRUE(write(0, kGranule));
  leave_free(5);
  const auto refused = file.plan_write(kGranule, 6 * kGranule, space, plan);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kNoSpace);
  EXPECT_EQ(space.free_granules(), 5U);
  EXPECT_EQ(file.allocated_bytes(geometry), kGranule);
  EXPECT_TRUE(plan.pieces.empty());
}

TEST_F(FileBlocksTest, short_write_is_possible_up_to_the_last_free_granule) {
  leave_free(5);
  EXPECT_EQ(file.placeable_bytes(100, kUnit, space), 5 * kGranule - 100);
  EXPECT_EQ(file.placeable_bytes(100, 1000, space), 1000U);
  ASSERT_TRUE(write(100, 5 * kGranule - 100));
  EXPECT_EQ(space.free_granules(), 0U);
  EXPECT_EQ(file.placeable_bytes(5 * kGranule, 1, space), 0U);
  EXPECT_EQ(file.placeable_bytes(0, kUnit, space), 5 * kGranule);
  EXPECT_FALSE(write(0, 5 * kGranule + 1));
  EXPECT_TRUE(write(0, 5 * kGranule));
}

TEST_F(FileBlocksTest, room_for_later_slots_is_not_wasted_on_earlier_ones) {
  // Written exactly: 1 granule in slot 0 and 63 in slot 1. A whole unit for slot 0 would be
  // one granule too many.
  std::vector<Block> units;
  while (const auto block = space.allocate(6, 0, 0)) {
    units.push_back(*block);
  }
  space.free(units[3]);
  ASSERT_TRUE(write(kUnit - kGranule, kUnit));
  EXPECT_EQ(space.free_granules(), 0U);
  EXPECT_FALSE(read(kUnit - kGranule, kUnit)[0].is_hole);
}

TEST_F(FileBlocksTest, far_write_costs_one_slot) {
  const std::uint64_t far = std::uint64_t{16} << 40U;
  ASSERT_TRUE(write(far, 10));
  EXPECT_EQ(file.allocated_bytes(geometry), 16 * kGranule);
  EXPECT_EQ(file.next_data(0, far + 10, geometry), far);
  EXPECT_EQ(file.next_hole(0, far + 10, geometry), 0U);
  EXPECT_EQ(file.next_hole(far, far + 10, geometry), far + 10);
  file.punch(0, kMaxFileBytes, geometry, freed);
  EXPECT_EQ(file.allocated_bytes(geometry), 0U);
}

TEST_F(FileBlocksTest, truncate_gives_back_the_slots_behind_and_the_halves_not_needed) {
  ASSERT_TRUE(write(0, 2 * kUnit));
  file.truncate(3 * kGranule + 1, geometry, freed);
  EXPECT_EQ(orders(), Orders{2});
  EXPECT_EQ(file.allocated_bytes(geometry), 4 * kGranule);
  std::uint64_t freed_granules = 0;
  for (const Block block : freed) {
    freed_granules += block.granules();
    space.free(block);
  }
  EXPECT_EQ(freed_granules, 124U);
  EXPECT_EQ(space.free_bytes(), space.total_bytes() - 4 * kGranule);
}

TEST_F(FileBlocksTest, truncated_granules_read_as_zeros_when_the_file_grows_again) {
  ASSERT_TRUE(write(0, 8 * kGranule));
  file.truncate(5 * kGranule, geometry, freed);
  EXPECT_EQ(orders(), Orders{3});
  EXPECT_FALSE(read(4 * kGranule, kGranule)[0].is_hole);
  EXPECT_TRUE(read(5 * kGranule, 3 * kGranule)[0].is_hole);
}

TEST_F(FileBlocksTest, truncate_tail_is_the_rest_of_a_written_granule) {
  EXPECT_FALSE(file.truncate_tail(10, space));
  ASSERT_TRUE(write(kUnit, kGranule));
  EXPECT_FALSE(file.truncate_tail(kUnit, space));
  EXPECT_FALSE(file.truncate_tail(kUnit + kGranule, space));
  EXPECT_FALSE(file.truncate_tail(kUnit + kGranule + 1, space));
  const auto tail = file.truncate_tail(kUnit + 10, space);
  ASSERT_TRUE(tail);
  EXPECT_EQ(tail->file_offset, kUnit + 10);
  EXPECT_EQ(tail->length, kGranule - 10);
  EXPECT_EQ(tail->place, (Place{1, 0, 10}));
}

TEST_F(FileBlocksTest, punch_of_a_whole_slot_gives_its_memory_back) {
  ASSERT_TRUE(write(0, 3 * kUnit));
  file.punch(kUnit, kUnit, geometry, freed);
  ASSERT_EQ(freed.size(), 1U);
  EXPECT_EQ(freed[0].order(), 6U);
  EXPECT_EQ(file.allocated_bytes(geometry), 2 * kUnit);
  EXPECT_TRUE(read(kUnit, kUnit)[0].is_hole);
}

TEST_F(FileBlocksTest, punch_leaves_partial_granules_to_be_zeroed) {
  ASSERT_TRUE(write(0, 4 * kGranule));
  Pieces zeros;
  file.punch_edges(10, 3 * kGranule, space, zeros);
  ASSERT_EQ(zeros.size(), 2U);
  EXPECT_EQ(zeros[0].file_offset, 10U);
  EXPECT_EQ(zeros[0].length, kGranule - 10);
  EXPECT_EQ(zeros[1].file_offset, 3 * kGranule);
  EXPECT_EQ(zeros[1].length, 10U);
  EXPECT_EQ(zeros[1].place, (Place{0, 0, 3 * kGranule}));
  file.punch(10, 3 * kGranule, geometry, freed);
  EXPECT_TRUE(freed.empty());
  EXPECT_EQ(read(0, 4 * kGranule).size(), 3U);
}

TEST_F(FileBlocksTest, punch_inside_one_granule_is_one_zero_range) {
  ASSERT_TRUE(write(0, kGranule));
  Pieces zeros;
  file.punch_edges(10, 20, space, zeros);
  ASSERT_EQ(zeros.size(), 1U);
  EXPECT_EQ(zeros[0].file_offset, 10U);
  EXPECT_EQ(zeros[0].length, 20U);
  file.punch(10, 20, geometry, freed);
  EXPECT_FALSE(read(0, kGranule)[0].is_hole);
}

TEST_F(FileBlocksTest, punch_of_a_blocks_end_shrinks_it) {
  ASSERT_TRUE(write(0, 8 * kGranule));
  file.punch(2 * kGranule, 6 * kGranule, geometry, freed);
  EXPECT_EQ(orders(), Orders{1});
  ASSERT_EQ(freed.size(), 2U);
}

TEST_F(FileBlocksTest, split_slot_frees_granule_by_granule) {
  leave_free(10);
  ASSERT_TRUE(write(0, 8 * kGranule));
  file.punch(2 * kGranule, 3 * kGranule, geometry, freed);
  EXPECT_EQ(freed.size(), 3U);
  file.truncate(6 * kGranule, geometry, freed);
  EXPECT_EQ(freed.size(), 5U);
  file.clear(geometry, freed);
  EXPECT_EQ(freed.size(), 8U);
  EXPECT_EQ(file.allocated_bytes(geometry), 0U);
}

TEST_F(FileBlocksTest, seek_finds_data_and_holes_by_granule) {
  ASSERT_TRUE(write(2 * kGranule, kGranule));
  ASSERT_TRUE(write(2 * kUnit, kUnit));
  const std::uint64_t size = 4 * kUnit;
  EXPECT_EQ(file.next_data(0, size, geometry), 2 * kGranule);
  EXPECT_EQ(file.next_data(2 * kGranule + 5, size, geometry), 2 * kGranule + 5);
  EXPECT_EQ(file.next_hole(2 * kGranule + 5, size, geometry), 3 * kGranule);
  EXPECT_EQ(file.next_data(3 * kGranule, size, geometry), 2 * kUnit);
  EXPECT_EQ(file.next_hole(2 * kUnit, size, geometry), 3 * kUnit);
  EXPECT_EQ(file.next_hole(3 * kUnit + 7, size, geometry), 3 * kUnit + 7);
  EXPECT_EQ(file.next_data(3 * kUnit, size, geometry), std::nullopt);
  EXPECT_EQ(file.next_data(0, 2 * kGranule, geometry), std::nullopt);
}

TEST_F(FileBlocksTest, plan_without_commit_is_a_preallocation) {
  ASSERT_TRUE(file.plan_write(0, 2 * kUnit, space, plan));
  EXPECT_EQ(file.allocated_bytes(geometry), 2 * kUnit);
  EXPECT_TRUE(read(0, 2 * kUnit)[0].is_hole);
  EXPECT_EQ(file.next_data(0, 2 * kUnit, geometry), std::nullopt);
}

TEST_F(FileBlocksTest, dead_providers_blocks_can_be_freed_and_new_ones_go_elsewhere) {
  ASSERT_TRUE(write(0, kUnit));
  space.set_usable(0, false);
  file.clear(geometry, freed);
  for (const Block block : freed) {
    space.free(block);
  }
  ASSERT_TRUE(write(0, kUnit));
  EXPECT_NE(read(0, 1)[0].place.provider, 0U);
}

}  // namespace
}  // namespace rram
