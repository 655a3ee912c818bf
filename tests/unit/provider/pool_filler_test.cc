// Pinning on several threads, held up, failing and called off at exact moments.
#include "provider/pool_filler.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "tests/unit/provider/provider_helpers.h"

namespace rram::test {
namespace {

constexpr std::uint32_t kSegments = 6;
constexpr std::chrono::milliseconds kNoTime{0};
constexpr std::chrono::seconds kLong{20};

std::string pinned(std::uint32_t segment) { return "pinned " + std::to_string(segment); }

bool is_resident(const Segment& segment) {
  std::array<unsigned char, kSegmentBytes / 4096> resident{};
  const std::span<std::byte> bytes = segment.bytes();
  EXPECT_EQ(::mincore(bytes.data(), bytes.size(), resident.data()), 0);
  return std::ranges::all_of(resident, [](unsigned char page) { return (page & 1) != 0; });
}

class PoolFillerTest : public testing::Test {
 protected:
  PoolFillerTest() {
    options_.threads = 1;
    options_.on_pinned = [this](std::uint32_t segment) {
      EXPECT_TRUE(is_resident(pool_->segment(segment)));
      diary_.write(pinned(segment));
    };
    options_.on_failed = [this](const Error& error) { diary_.write("failed: " + error.message); };
  }

  std::unique_ptr<Pool> pool_ = make_pool(kSegments);
  Diary diary_;
  PoolFillerOptions options_;
};

TEST_F(PoolFillerTest, one_thread_pins_every_segment_in_order) {
  PoolFiller filler(*pool_, options_);
  ASSERT_TRUE(filler.wait(kLong));
  std::vector<std::string> expected;
  for (std::uint32_t i = 0; i < kSegments; ++i) expected.push_back(pinned(i));
  EXPECT_EQ(diary_.entries(), expected);
  EXPECT_EQ(filler.pinned_bytes(), kSegments * kSegmentBytes);
}

TEST_F(PoolFillerTest, several_threads_pin_at_the_same_time_and_each_segment_once) {
  std::atomic<unsigned> asking = 0;
  options_.threads = 3;
  options_.may_take = [&](std::uint64_t /*bytes*/) -> Status {
    // Nobody goes on before three segments are under way.
    ++asking;
    while (asking < 3) std::this_thread::yield();
    return {};
  };
  PoolFiller filler(*pool_, options_);
  ASSERT_TRUE(filler.wait(kLong));
  std::vector<std::string> entries = diary_.entries();
  std::ranges::sort(entries);
  EXPECT_EQ(entries.size(), kSegments);
  EXPECT_EQ(std::ranges::adjacent_find(entries), entries.end());
}

TEST_F(PoolFillerTest, what_is_pinned_is_told_while_the_rest_is_not) {
  Diary gate;
  options_.may_take = [&](std::uint64_t /*bytes*/) -> Status {
    if (diary_.entries().size() == 2) gate.wait_for("open");
    return {};
  };
  PoolFiller filler(*pool_, options_);
  EXPECT_EQ(diary_.wait_for(2), (std::vector<std::string>{pinned(0), pinned(1)}));
  EXPECT_FALSE(filler.wait(kNoTime));
  EXPECT_EQ(filler.pinned_bytes(), 2 * kSegmentBytes);
  gate.write("open");
  EXPECT_TRUE(filler.wait(kLong));
  EXPECT_EQ(diary_.entries().size(), kSegments);
}

TEST_F(PoolFillerTest, a_failure_is_told_once_and_last) {
  options_.threads = 3;
  std::atomic<unsigned> asking = 0;
  options_.may_take = [&](std::uint64_t /*bytes*/) -> Status {
    if (++asking <= 2) return {};
    return fail(ErrorCode::kUnavailable, "the host is full");
  };
  PoolFiller filler(*pool_, options_);
  ASSERT_TRUE(filler.wait(kLong));
  const std::vector<std::string> entries = diary_.entries();
  ASSERT_EQ(entries.size(), 3) << "two segments and the failure";
  EXPECT_EQ(entries.back(), "failed: the host is full");
  EXPECT_EQ(filler.pinned_bytes(), 2 * kSegmentBytes);
}

TEST_F(PoolFillerTest, called_off_it_ends_long_before_the_last_segment_and_that_is_no_failure) {
  constexpr std::uint32_t kMany = 32;
  pool_ = make_pool(kMany);
  std::atomic<bool> may_begin = false;
  options_.may_take = [&](std::uint64_t /*bytes*/) -> Status {
    while (!may_begin) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // all of it would take 640 ms
    return {};
  };
  PoolFiller filler(*pool_, options_);
  may_begin = true;
  filler.stop();
  EXPECT_TRUE(filler.wait(kNoTime));
  EXPECT_LT(filler.pinned_bytes(), kMany * kSegmentBytes);
  for (const std::string& entry : diary_.entries()) EXPECT_FALSE(entry.starts_with("failed"));
}

}  // namespace
}  // namespace rram::test
