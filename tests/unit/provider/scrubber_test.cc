// Leases that are over: revoked first, then zeroed, on several threads.
#include "provider/scrubber.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/unit/provider/provider_helpers.h"

namespace rram::test {
namespace {

FencedLease fenced(std::uint8_t n, std::vector<std::uint32_t> segments,
                   bool descriptors_passed = false) {
  FencedLease lease;
  lease.id = {n};
  lease.segments = std::move(segments);
  lease.descriptors_passed = descriptors_passed;
  return lease;
}

std::string revoked(int n) { return "revoked " + std::to_string(n); }
std::string scrubbed(std::uint32_t segment) { return "scrubbed " + std::to_string(segment); }

class ScrubberTest : public testing::Test {
 protected:
  ScrubberTest() {
    for (std::uint32_t i = 0; i < pool_->segment_count(); ++i) {
      std::ranges::fill(pool_->segment(i).bytes(), std::byte{0x77});
    }
  }

  ScrubSteps steps() {
    return {[this](const FencedLease& lease) { diary_.write(revoked(lease.id.front())); },
            [this](std::uint32_t segment) { diary_.write(scrubbed(segment)); }};
  }

  std::unique_ptr<Pool> pool_ = make_pool(8);
  Diary diary_;
};

TEST_F(ScrubberTest, every_segment_comes_back_zero_once) {
  Scrubber scrubber(*pool_, 2, silent_log(), steps());
  scrubber.push({fenced(1, {0, 1, 2, 3}), fenced(2, {4, 5, 6, 7}, true)});
  std::vector<std::string> entries = diary_.wait_for(10);
  std::ranges::sort(entries);
  EXPECT_EQ(std::ranges::adjacent_find(entries), entries.end()) << "something was done twice";
  for (std::uint32_t i = 0; i < 8; ++i) EXPECT_TRUE(is_zero(pool_->segment(i).bytes())) << i;
}

TEST_F(ScrubberTest, a_lease_is_revoked_before_any_of_its_memory_changes) {
  ScrubSteps with_look = steps();
  bool was_untouched = true;
  with_look.revoke = [&](const FencedLease& lease) {
    for (const std::uint32_t segment : lease.segments) {
      const std::span<std::byte> bytes = pool_->segment(segment).bytes();
      was_untouched = was_untouched && bytes.front() == std::byte{0x77};
    }
    diary_.write(revoked(lease.id.front()));
  };
  Scrubber scrubber(*pool_, 3, silent_log(), with_look);
  scrubber.push({fenced(1, {0, 1, 2, 3, 4, 5, 6, 7})});
  EXPECT_EQ(diary_.wait_for(9).front(), revoked(1));
  EXPECT_TRUE(was_untouched);
}

TEST_F(ScrubberTest, while_one_lease_is_being_revoked_the_memory_of_another_is_zeroed) {
  ScrubSteps slow_first = steps();
  slow_first.revoke = [&](const FencedLease& lease) {
    if (lease.id.front() == 1) diary_.wait_for(scrubbed(5));
    diary_.write(revoked(lease.id.front()));
  };
  Scrubber scrubber(*pool_, 2, silent_log(), slow_first);
  scrubber.push({fenced(1, {0})});
  scrubber.push({fenced(2, {5})});
  EXPECT_EQ(diary_.wait_for(4),
            (std::vector<std::string>{revoked(2), scrubbed(5), revoked(1), scrubbed(0)}));
}

TEST_F(ScrubberTest, a_lease_that_ends_does_not_wait_for_the_memory_of_others) {
  Scrubber* itself = nullptr;
  ScrubSteps with_newcomer = steps();
  with_newcomer.on_scrubbed = [&](std::uint32_t segment) {
    diary_.write(scrubbed(segment));
    if (segment == 0) itself->push({fenced(2, {3})});
  };
  Scrubber scrubber(*pool_, 1, silent_log(), with_newcomer);
  itself = &scrubber;
  scrubber.push({fenced(1, {0, 1, 2})});
  EXPECT_EQ(diary_.wait_for(6), (std::vector<std::string>{revoked(1), scrubbed(0), revoked(2),
                                                          scrubbed(1), scrubbed(2), scrubbed(3)}));
}

TEST_F(ScrubberTest, a_destroyed_one_has_finished_what_it_began_and_left_the_rest_alone) {
  {
    Scrubber scrubber(*pool_, 2, silent_log(), steps());
    for (std::uint8_t n = 1; n <= 8; ++n) scrubber.push({fenced(n, {n - 1U})});
    diary_.wait_for(1);
  }
  const std::vector<std::string> entries = diary_.entries();
  for (std::uint32_t i = 0; i < 8; ++i) {
    const bool was_scrubbed = std::ranges::find(entries, scrubbed(i)) != entries.end();
    EXPECT_EQ(is_zero(pool_->segment(i).bytes()), was_scrubbed) << i;
  }
}

}  // namespace
}  // namespace rram::test
