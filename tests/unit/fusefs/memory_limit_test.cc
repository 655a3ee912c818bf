#include "fusefs/memory_limit.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace rram {
namespace {

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

class MemoryLimitTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "groups.XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    files_ = {.own_group = root_ / "own", .groups = root_ / "groups"};
    std::filesystem::create_directories(root_ / "groups/system/service");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void write(const std::string& name, const std::string& text) {
    std::ofstream(root_ / name) << text << "\n";
  }

  std::filesystem::path root_;
  MemoryLimitFiles files_;
};

TEST_F(MemoryLimitTest, without_groups_the_host_is_the_limit) {
  EXPECT_EQ(memory_limit_bytes(8 * kGiB, {"/nowhere/a", "/nowhere/b"}), 8 * kGiB);
}

TEST_F(MemoryLimitTest, the_smallest_on_the_way_counts) {
  write("own", "4:memory:/ignored\n0::/system/service");
  EXPECT_EQ(memory_limit_bytes(8 * kGiB, files_), 8 * kGiB);
  write("groups/system/service/memory.max", "max");
  EXPECT_EQ(memory_limit_bytes(8 * kGiB, files_), 8 * kGiB);
  write("groups/system/memory.max", std::to_string(2 * kGiB));
  EXPECT_EQ(memory_limit_bytes(8 * kGiB, files_), 2 * kGiB);
  write("groups/system/service/memory.max", std::to_string(kGiB));
  EXPECT_EQ(memory_limit_bytes(8 * kGiB, files_), kGiB);
  EXPECT_EQ(memory_limit_bytes(kGiB / 2, files_), kGiB / 2);
}

// In a container with a namespace of its own, the own group is "/", and its limit stands there.
TEST_F(MemoryLimitTest, the_root_that_a_container_sees_may_have_a_limit) {
  write("own", "0::/");
  write("groups/memory.max", std::to_string(kGiB));
  EXPECT_EQ(memory_limit_bytes(8 * kGiB, files_), kGiB);
}

}  // namespace
}  // namespace rram
