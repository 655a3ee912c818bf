#include "fusefs/layout/quarantine.h"

#include <gtest/gtest.h>

#include <deque>
#include <vector>

#include "tests/unit/layout/seeded_random.h"

namespace rram {
namespace {

Geometry default_geometry() { return Geometry::make(kDefaultStripeUnitBytes).value(); }

std::size_t collected(Quarantine& quarantine) {
  std::vector<Block> out;
  quarantine.collect(out);
  return out.size();
}

TEST(Quarantine, block_is_safe_at_once_when_no_io_runs) {
  Quarantine quarantine(default_geometry());
  quarantine.retire(Block(0, 3, 8));
  EXPECT_EQ(quarantine.held_bytes(), 8U * 4096U);
  EXPECT_TRUE(quarantine.has_safe_blocks());
  std::vector<Block> out;
  quarantine.collect(out);
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out.front(), Block(0, 3, 8));
  EXPECT_EQ(quarantine.held_bytes(), 0U);
}

TEST(Quarantine, block_waits_for_every_io_that_started_before) {
  Quarantine quarantine(default_geometry());
  const auto first = quarantine.begin_io();
  const auto second = quarantine.begin_io();
  quarantine.retire(Block(0, 0, 1));
  quarantine.end_io(second);
  EXPECT_EQ(collected(quarantine), 0U);
  EXPECT_EQ(quarantine.held_bytes(), 4096U);
  quarantine.end_io(first);
  EXPECT_EQ(collected(quarantine), 1U);
}

TEST(Quarantine, io_that_starts_later_does_not_hold_a_closed_generation) {
  Quarantine quarantine(default_geometry());
  const auto before = quarantine.begin_io();
  quarantine.retire(Block(0, 0, 1));
  const auto after = quarantine.begin_io();
  quarantine.end_io(before);
  EXPECT_EQ(collected(quarantine), 1U);
  quarantine.end_io(after);
  EXPECT_EQ(quarantine.tickets_out(), 0U);
}

TEST(Quarantine, continuous_io_does_not_starve_it) {
  Quarantine quarantine(default_geometry());
  std::deque<Quarantine::Ticket> running;
  const std::size_t depth = 10'000;
  for (std::size_t count = 0; count < depth; ++count) {
    running.push_back(quarantine.begin_io());
  }
  std::size_t safe = 0;
  for (std::size_t step = 0; step < 20 * depth; ++step) {
    quarantine.retire(Block(0, 0, step));
    running.push_back(quarantine.begin_io());
    quarantine.end_io(running.front());
    running.pop_front();
    safe += collected(quarantine);
  }
  // At most two generations of I/O are waited for, each of about the depth.
  EXPECT_GE(safe, 17 * depth);
}

// What a huge file held is given back in parts, each of which counts as held until then.
TEST(Quarantine, safe_blocks_are_collected_in_parts) {
  Quarantine quarantine(default_geometry());
  const auto reading = quarantine.begin_io();
  for (std::uint64_t i = 0; i < 10; ++i) {
    quarantine.retire(Block(0, 0, i));
  }
  quarantine.end_io(reading);
  quarantine.retire(Block(0, 0, 10));
  std::vector<Block> out;
  quarantine.collect(out, 4);
  EXPECT_EQ(out.size(), 4U);
  EXPECT_EQ(quarantine.held_bytes(), 7U * 4096U);
  quarantine.collect(out, 100);
  EXPECT_EQ(out.size(), 11U);
  EXPECT_EQ(quarantine.held_bytes(), 0U);
}

// Against the rule itself: each block remembers the I/Os that ran when it was retired.
TEST(Quarantine, never_gives_a_block_back_early) {
  SeededRandom random;
  Quarantine quarantine(default_geometry());
  struct Running {
    std::uint64_t number;
    Quarantine::Ticket ticket;
  };
  std::vector<Running> running;
  std::vector<std::uint64_t> retired_after;  // by block: the number of I/Os begun before it
  std::uint64_t begun = 0;
  std::size_t returned = 0;
  for (unsigned step = 0; step < 200'000; ++step) {
    const unsigned dice = random.below(8);
    if (dice < 3) {
      running.push_back({begun++, quarantine.begin_io()});
    } else if (dice < 6 && !running.empty()) {
      const std::size_t which = random.below(running.size());
      quarantine.end_io(running[which].ticket);
      running[which] = running.back();
      running.pop_back();
    } else if (dice == 6) {
      quarantine.retire(Block(0, 0, retired_after.size()));
      retired_after.push_back(begun);
    } else {
      std::vector<Block> out;
      quarantine.collect(out);
      returned += out.size();
      for (const Block block : out) {
        for (const Running& io : running) {
          ASSERT_GE(io.number, retired_after[block.granule()]);
        }
      }
      ASSERT_EQ(quarantine.held_bytes(), (retired_after.size() - returned) * 4096);
    }
  }
  for (const Running& io : running) {
    quarantine.end_io(io.ticket);
  }
  returned += collected(quarantine);
  EXPECT_EQ(returned, retired_after.size());
  EXPECT_EQ(quarantine.held_bytes(), 0U);
}

TEST(QuarantineDeathTest, ending_an_io_twice_asserts) {
  Quarantine quarantine(default_geometry());
  const auto ticket = quarantine.begin_io();
  quarantine.end_io(ticket);
  EXPECT_DEATH(quarantine.end_io(ticket), "tickets > 0");
}

}  // namespace
}  // namespace rram
