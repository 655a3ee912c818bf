#include "provider/segment.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "provider/pool.h"
#include "tests/unit/provider/provider_helpers.h"

namespace rram::test {
namespace {

// Tests need no right to lock memory.
constexpr SegmentOptions kOptions{kSegmentBytes, false, false};

TEST(Segment, is_sealed_zero_and_of_its_size) {
  Result<Segment> segment = Segment::create(kOptions);
  ASSERT_TRUE(segment) << segment.error().message;
  ASSERT_TRUE(segment->populate());
  EXPECT_EQ(segment->bytes().size(), kSegmentBytes);
  EXPECT_TRUE(is_zero(segment->bytes()));
  EXPECT_EQ(::fcntl(segment->fd(), F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  EXPECT_NE(::ftruncate(segment->fd(), 4096), 0);
  EXPECT_NE(::ftruncate(segment->fd(), 2 * kSegmentBytes), 0);
}

TEST(Segment, wipe_zeroes_in_place) {
  Result<Segment> segment = Segment::create(kOptions);
  ASSERT_TRUE(segment);
  std::ranges::fill(segment->bytes(), std::byte{0x5a});
  segment->wipe();
  EXPECT_TRUE(is_zero(segment->bytes()));
}

TEST(Segment, who_kept_the_descriptor_sees_neither_the_old_nor_the_new_content) {
  Result<Segment> segment = Segment::create(kOptions);
  ASSERT_TRUE(segment);
  ASSERT_TRUE(segment->populate());
  const UniqueFd kept(::dup(segment->fd()));
  Result<Mapping> old_mapping = Mapping::shared(kept.get(), kSegmentBytes);
  ASSERT_TRUE(old_mapping);
  std::memset(old_mapping->data(), 0x5a, kSegmentBytes);
  ASSERT_EQ(segment->bytes().back(), std::byte{0x5a});
  ASSERT_TRUE(segment->renew());
  EXPECT_TRUE(is_zero(old_mapping->bytes()));
  EXPECT_TRUE(is_zero(segment->bytes()));
  segment->bytes()[7] = std::byte{1};
  EXPECT_EQ(old_mapping->bytes()[7], std::byte{0});
  old_mapping->bytes()[9] = std::byte{2};
  EXPECT_EQ(segment->bytes()[9], std::byte{0});
}

TEST(Pool, populates_all_of_it_and_tells_how_far_it_is) {
  PoolPlan plan;
  plan.segment_bytes = kSegmentBytes;
  plan.segment_count = 5;
  PoolOptions options;
  options.lock_memory = false;
  options.threads = 3;
  std::uint64_t last_bytes = 0;
  options.on_progress = [&](std::uint64_t done_bytes, std::uint64_t total_bytes) {
    EXPECT_GE(done_bytes, last_bytes);
    EXPECT_EQ(total_bytes, 5 * kSegmentBytes);
    last_bytes = done_bytes;
    return true;
  };
  Result<std::unique_ptr<Pool>> pool = Pool::create(plan, options);
  ASSERT_TRUE(pool) << pool.error().message;
  EXPECT_EQ(last_bytes, 5 * kSegmentBytes);
  EXPECT_EQ((*pool)->size_bytes(), 5 * kSegmentBytes);
  std::array<unsigned char, kSegmentBytes / 4096> resident{};
  for (std::uint32_t i = 0; i < 5; ++i) {
    const std::span<std::byte> bytes = (*pool)->segment(i).bytes();
    ASSERT_EQ(::mincore(bytes.data(), bytes.size(), resident.data()), 0);
    EXPECT_TRUE(std::ranges::all_of(resident, [](unsigned char page) { return (page & 1) != 0; }));
  }
}

TEST(Pool, can_be_interrupted) {
  PoolPlan plan;
  plan.segment_bytes = kSegmentBytes;
  plan.segment_count = 3;
  PoolOptions options;
  options.lock_memory = false;
  options.on_progress = [](std::uint64_t, std::uint64_t) { return false; };
  const Result<std::unique_ptr<Pool>> pool = Pool::create(plan, options);
  ASSERT_FALSE(pool);
  EXPECT_EQ(pool.error().code, ErrorCode::kCancelled);
}

}  // namespace
}  // namespace rram::test
