// What files cost in memory. Its own program, so that nothing else moves the heap.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <string>

#include "fusefs/namespace/namespace.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RRAM_HEAP_IS_GLIBC 0
#else
#define RRAM_HEAP_IS_GLIBC 1
#endif

namespace rram {
namespace {

std::uint64_t heap_bytes() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;  // in the heap, and in mappings of their own
}

// "file-0000042": 12 bytes.
std::string file_name(int index) { return fmt::format("file-{:07}", index); }

class NamespaceDensityTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (RRAM_HEAP_IS_GLIBC == 0) {
      GTEST_SKIP() << "a sanitizer's heap is not counted by mallinfo2";
    }
  }
};

// The tables double, so a count just past a doubling is the worst and one just before it the best.
TEST_P(NamespaceDensityTest, small_file_with_its_name_costs_less_than_its_budget) {
  constexpr std::uint64_t kBudgetBytes = 250;
  const int files = GetParam();
  Namespace names(NamespaceLimits{}, RootAttributes{}, 1);
  const std::uint64_t heap_before_bytes = heap_bytes();
  const std::uint64_t estimate_before_bytes = names.usage().memory_bytes;
  for (int i = 0; i < files; ++i) {
    ASSERT_TRUE(
        names.apply(Create{.parent = kRootIno, .name = file_name(i), .mode = S_IFREG | 0644}));
  }
  const auto count = static_cast<std::uint64_t>(files);
  const std::uint64_t cost_bytes = (heap_bytes() - heap_before_bytes) / count;
  const std::uint64_t estimate_bytes = (names.usage().memory_bytes - estimate_before_bytes) / count;
  fmt::print("{} files: {} bytes each, estimated {}\n", files, cost_bytes, estimate_bytes);
  EXPECT_LE(cost_bytes, kBudgetBytes);
  EXPECT_NEAR(static_cast<double>(estimate_bytes), static_cast<double>(cost_bytes), 10.0);
}

INSTANTIATE_TEST_SUITE_P(counts, NamespaceDensityTest,
                         testing::Values(200'000, 228'000, 230'000, 460'000));

TEST_F(NamespaceDensityTest, directory_with_one_entry_costs_less_than_its_budget) {
  constexpr std::uint64_t kBudgetBytes = 1024;
  constexpr std::uint64_t kDirectories = 50'000;
  Namespace names(NamespaceLimits{}, RootAttributes{}, 1);
  const std::uint64_t heap_before_bytes = heap_bytes();
  Ino parent = kRootIno;
  for (std::uint64_t i = 0; i < kDirectories; ++i) {
    const auto made = names.apply(Create{.parent = parent, .name = "d", .mode = S_IFDIR | 0755});
    ASSERT_TRUE(made);
    parent = made->attributes.ino;
  }
  const std::uint64_t cost_bytes = (heap_bytes() - heap_before_bytes) / kDirectories;
  fmt::print("directories: {} bytes each\n", cost_bytes);
  EXPECT_LE(cost_bytes, kBudgetBytes);
}

TEST_F(NamespaceDensityTest, memory_comes_back_when_files_go) {
  constexpr int kFiles = 200'000;
  Namespace names(NamespaceLimits{}, RootAttributes{}, 1);
  const std::uint64_t before_bytes = heap_bytes();
  for (int i = 0; i < kFiles; ++i) {
    ASSERT_TRUE(names.apply(Create{.parent = kRootIno, .name = file_name(i), .mode = S_IFREG}));
  }
  for (int i = 0; i < kFiles; ++i) {
    ASSERT_TRUE(names.apply(Unlink{.parent = kRootIno, .name = file_name(i)}));
  }
  EXPECT_LE(heap_bytes(), before_bytes + 65'536);
}

}  // namespace
}  // namespace rram
