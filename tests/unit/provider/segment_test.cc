#include "provider/segment.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

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
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  EXPECT_EQ(::fcntl(segment->fd(), F_GET_SEALS) & kSeals, kSeals);
  EXPECT_NE(::ftruncate(segment->fd(), 4096), 0);
  EXPECT_NE(::ftruncate(segment->fd(), 2 * kSegmentBytes), 0);
}

TEST(Segment, is_no_program_and_cannot_become_one) {
  const int probe = ::memfd_create("probe", 0x0008U /* MFD_NOEXEC_SEAL */);
  if (probe < 0) GTEST_SKIP() << "this kernel (before 6.3) makes no memfds without execution";
  ::close(probe);
  Result<Segment> segment = Segment::create(kOptions);
  ASSERT_TRUE(segment);
  struct stat about{};
  ASSERT_EQ(::fstat(segment->fd(), &about), 0);
  EXPECT_EQ(about.st_mode & 0111U, 0U);
  EXPECT_EQ(::fchmod(segment->fd(), 0777), -1);
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

TEST(Segment, asks_before_each_step_and_stops_when_told_no) {
  constexpr std::uint64_t kLargeBytes = std::uint64_t{64} << 20;
  Result<Segment> segment = Segment::create({kLargeBytes, false, false});
  ASSERT_TRUE(segment);
  std::uint64_t asked_bytes = 0;
  int questions = 0;
  const Status refused = segment->populate([&](std::uint64_t bytes) -> Status {
    if (++questions == 3) return fail(ErrorCode::kUnavailable, "enough");
    asked_bytes += bytes;
    return {};
  });
  EXPECT_EQ(refused.error().message, "enough");
  std::vector<unsigned char> resident(kLargeBytes / 4096);
  ASSERT_EQ(::mincore(segment->bytes().data(), kLargeBytes, resident.data()), 0);
  EXPECT_EQ(std::ranges::count_if(resident, [](unsigned char page) { return (page & 1) != 0; }),
            asked_bytes / 4096);
  EXPECT_LT(asked_bytes, kLargeBytes);
}

TEST(Pool, shrinks_by_what_it_gives_back) {
  const std::unique_ptr<Pool> pool = make_pool(3);
  pool->give_back(1);
  EXPECT_EQ(pool->size_bytes(), 2 * kSegmentBytes);
  EXPECT_TRUE(pool->segment(1).bytes().empty());
  EXPECT_EQ(pool->segment(2).bytes().size(), kSegmentBytes);
}

}  // namespace
}  // namespace rram::test
