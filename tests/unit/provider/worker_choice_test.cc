#include "provider/worker_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <vector>

namespace rram {
namespace {

TEST(WorkerChoiceTest, without_a_cpu_the_worker_with_the_fewest_lanes_is_chosen) {
  const std::array<std::uint32_t, 4> lanes{3, 2, 1, 2};
  for (std::size_t turn = 0; turn < 8; ++turn) {
    EXPECT_EQ(choose_worker(lanes, std::nullopt, turn), 2U);
  }
}

TEST(WorkerChoiceTest, equals_take_turns) {
  const std::array<std::uint32_t, 3> lanes{1, 1, 1};
  EXPECT_EQ(choose_worker(lanes, std::nullopt, 0), 0U);
  EXPECT_EQ(choose_worker(lanes, std::nullopt, 1), 1U);
  EXPECT_EQ(choose_worker(lanes, std::nullopt, 5), 2U);
}

TEST(WorkerChoiceTest, the_worker_at_the_packets_cpu_is_chosen_though_it_has_a_little_more) {
  const std::array<std::uint32_t, 2> lanes{kMaxLanesAhead, 0};
  EXPECT_EQ(choose_worker(lanes, 0, 1), 0U);
  EXPECT_EQ(choose_worker(lanes, 1, 0), 1U);
}

TEST(WorkerChoiceTest, packets_that_all_arrive_at_one_cpu_still_occupy_every_worker) {
  std::vector<std::uint32_t> lanes(8, 0);
  for (std::size_t turn = 0; turn < 80; ++turn) ++lanes[choose_worker(lanes, 5, turn)];
  const auto [fewest, most] = std::ranges::minmax(lanes);
  EXPECT_EQ(most, lanes[5]);
  EXPECT_LE(most - fewest, kMaxLanesAhead + 1);
  EXPECT_GE(fewest, 9U);
}

}  // namespace
}  // namespace rram
