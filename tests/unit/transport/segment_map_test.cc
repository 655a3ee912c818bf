#include "rdma/shm/segment_map.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

namespace rram {

namespace {

constexpr std::uint64_t kRegionBytes = 8192;

UniqueFd memory_file(std::uint64_t size_bytes, int seals) {
  UniqueFd fd(::memfd_create("segment", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size_bytes)), 0);
  EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, seals), 0);
  return fd;
}

constexpr int kSealed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

void expect_refused(UniqueFd bad, const std::string& why) {
  std::vector<UniqueFd> descriptors;
  descriptors.push_back(memory_file(kRegionBytes, kSealed));
  descriptors.push_back(std::move(bad));
  const auto map = SegmentMap::create(descriptors, kRegionBytes);
  ASSERT_FALSE(map.has_value());
  EXPECT_EQ(map.error().code, ErrorCode::kProtocol);
  EXPECT_NE(map.error().message.find("region 1"), std::string::npos) << map.error().message;
  EXPECT_NE(map.error().message.find(why), std::string::npos) << map.error().message;
}

TEST(SegmentMap, maps_each_region_of_the_lease) {
  std::vector<UniqueFd> descriptors;
  for (int i = 0; i < 3; ++i) {
    descriptors.push_back(memory_file(kRegionBytes, kSealed));
    const char mark = static_cast<char>('a' + i);
    EXPECT_EQ(::pwrite(descriptors.back().get(), &mark, 1, kRegionBytes - 1), 1);
  }
  const auto map = SegmentMap::create(descriptors, kRegionBytes);
  ASSERT_TRUE(map.has_value()) << map.error().message;
  descriptors.clear();  // the mapping needs no descriptor
  for (std::uint32_t i = 0; i < 3; ++i) {
    const std::span<std::byte> region = (*map)->region(i);
    ASSERT_EQ(region.size(), kRegionBytes);
    EXPECT_EQ(region.back(), static_cast<std::byte>('a' + i));
  }
}

TEST(SegmentMap, a_file_that_could_shrink_is_refused) {
  expect_refused(memory_file(kRegionBytes, 0), "not sealed");
  expect_refused(memory_file(kRegionBytes, F_SEAL_GROW), "not sealed");
  expect_refused(memory_file(kRegionBytes, F_SEAL_SHRINK), "not sealed");
}

TEST(SegmentMap, a_file_of_another_size_is_refused) {
  expect_refused(memory_file(kRegionBytes - 4096, kSealed), "is not a file of 8192 bytes");
  expect_refused(memory_file(kRegionBytes + 4096, kSealed), "is not a file of 8192 bytes");
}

TEST(SegmentMap, what_is_no_file_is_refused) {
  expect_refused(UniqueFd(::open("/dev/zero", O_RDWR | O_CLOEXEC)), "is not a file");
}

}  // namespace

}  // namespace rram
