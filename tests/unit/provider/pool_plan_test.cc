#include "provider/pool_plan.h"

#include <gtest/gtest.h>

#include "provider/host_memory.h"

namespace rram {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

HostMemory large_host() { return {64 * kGiB, 60 * kGiB, 2 * kMiB, 0}; }

TEST(PoolPlan, segments_are_powers_of_two_and_about_a_hundred) {
  for (const std::uint64_t wanted_bytes :
       {128 * kMiB, 1000 * kMiB, kGiB, 3 * kGiB, 14 * kGiB, 50 * kGiB}) {
    const Result<PoolPlan> plan = plan_pool(wanted_bytes, HugePages::kOff, large_host());
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_EQ(plan->segment_bytes & (plan->segment_bytes - 1), 0);
    EXPECT_GE(plan->segment_count, 60);
    EXPECT_LE(plan->segment_count, 128);
    EXPECT_LE(plan->size_bytes(), wanted_bytes);
    EXPECT_LT(wanted_bytes - plan->size_bytes(), plan->segment_bytes);
    EXPECT_EQ(plan->note.empty(), plan->size_bytes() == wanted_bytes);
  }
}

TEST(PoolPlan, bounds_of_segments_hold_at_both_ends) {
  const Result<PoolPlan> small = plan_pool(5 * kMiB, HugePages::kOff, large_host());
  ASSERT_TRUE(small);
  EXPECT_EQ(small->segment_bytes, kMinSegmentBytes);
  EXPECT_EQ(small->segment_count, 2);
  EXPECT_FALSE(small->note.empty());
  const HostMemory giant{4096 * kGiB, UINT64_MAX / 2, 0, 0};
  const Result<PoolPlan> large = plan_pool(2048 * kGiB, HugePages::kOff, giant);
  ASSERT_TRUE(large);
  EXPECT_EQ(large->segment_bytes, kMaxSegmentBytes);
  EXPECT_EQ(large->segment_count, 2048);
  EXPECT_EQ(plan_pool(kMiB, HugePages::kOff, large_host()).error().code,
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(plan_pool(UINT64_MAX, HugePages::kOff, giant).error().code,
            ErrorCode::kInvalidArgument);
}

TEST(PoolPlan, the_host_keeps_a_floor_and_the_refusal_says_what_fits) {
  const HostMemory host{16 * kGiB, 15 * kGiB, 0, 0};
  const std::uint64_t most_bytes = host.available_bytes - host_floor_bytes(host);
  EXPECT_TRUE(plan_pool(most_bytes, HugePages::kOff, host));
  const Result<PoolPlan> refused = plan_pool(15 * kGiB, HugePages::kOff, host);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(refused.error().message.find(std::to_string(most_bytes >> 20) + "M"),
            std::string::npos);
  const HostMemory full{16 * kGiB, 10 * kMiB, 0, 0};
  EXPECT_FALSE(plan_pool(2 * kMiB, HugePages::kOff, full));
}

TEST(PoolPlan, huge_pages_are_taken_where_enough_are_free) {
  HostMemory host = large_host();
  host.huge_free_bytes = kGiB;
  EXPECT_TRUE(plan_pool(kGiB, HugePages::kAuto, host)->huge_pages);
  EXPECT_EQ(plan_pool(kGiB, HugePages::kAuto, host)->page_bytes, 2 * kMiB);
  EXPECT_FALSE(plan_pool(2 * kGiB, HugePages::kAuto, host)->huge_pages);
  EXPECT_FALSE(plan_pool(kGiB, HugePages::kOff, host)->huge_pages);
  const Result<PoolPlan> refused = plan_pool(2 * kGiB, HugePages::kOn, host);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(refused.error().message.find("--hugepages auto"), std::string::npos);
  host.huge_page_bytes = kGiB;  // larger than a segment
  EXPECT_FALSE(plan_pool(kGiB, HugePages::kAuto, host)->huge_pages);
  EXPECT_FALSE(plan_pool(kGiB, HugePages::kOn, host));
}

TEST(PoolPlan, says_from_which_pages_the_pool_is_made_and_why) {
  HostMemory host = large_host();
  const auto note = [&host](HugePages huge_pages) {
    return plan_pool(kGiB, huge_pages, host)->pages_note;
  };
  EXPECT_NE(note(HugePages::kAuto).find("pages of 4.0 KiB"), std::string::npos);
  EXPECT_NE(note(HugePages::kAuto).find("vm.nr_hugepages=512"), std::string::npos);
  EXPECT_NE(note(HugePages::kAuto).find("shmem_enabled"), std::string::npos);
  EXPECT_EQ(note(HugePages::kOff).find("vm.nr_hugepages"), std::string::npos) << "nobody asked";
  host.makes_huge_pages = true;
  EXPECT_NE(note(HugePages::kAuto).find("makes huge pages of them where it can"),
            std::string::npos);
  EXPECT_EQ(note(HugePages::kAuto).find("shmem_enabled"), std::string::npos) << "nothing to do";
  host.huge_free_bytes = kGiB;
  EXPECT_NE(note(HugePages::kAuto).find("reserved huge pages of 2.0 MiB"), std::string::npos);
}

TEST(PoolPlan, a_pool_that_grows_leaves_half_of_the_floor_to_the_host) {
  HostMemory host{16 * kGiB, 0, 0, 0};
  const std::uint64_t kept_bytes = host_floor_bytes(host) / 2;
  host.available_bytes = kept_bytes + 16 * kMiB;
  EXPECT_TRUE(check_room(16 * kMiB, host));
  const Status refused = check_room(16 * kMiB + 1, host);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(refused.error().message.find("--size"), std::string::npos);
  host.available_bytes = kept_bytes - 1;
  EXPECT_FALSE(check_room(0, host));
}

TEST(HostMemory, whether_memfds_get_huge_pages_is_the_word_in_brackets) {
  EXPECT_TRUE(makes_huge_pages("always within_size [advise] never deny force\n"));
  EXPECT_TRUE(makes_huge_pages("[always] within_size advise never deny force\n"));
  EXPECT_FALSE(makes_huge_pages("always within_size advise [never] deny force\n"));
  EXPECT_FALSE(makes_huge_pages("always within_size advise never [deny] force\n"));
  EXPECT_FALSE(makes_huge_pages(""));
}

TEST(HostMemory, meminfo_is_read_by_whole_field_names) {
  const std::string_view meminfo =
      "MemTotal:       24636656 kB\nMemFree:        1 kB\nMemAvailable:   24274488 kB\n"
      "HugePages_Total:       8\nHugePages_Free:        6\nHugePages_Rsvd:        2\n"
      "Hugepagesize:       2048 kB\n";
  const Result<HostMemory> host = parse_meminfo(meminfo);
  ASSERT_TRUE(host);
  EXPECT_EQ(host->total_bytes, 24636656 * 1024ULL);
  EXPECT_EQ(host->available_bytes, 24274488 * 1024ULL);
  EXPECT_EQ(host->huge_page_bytes, 2 * kMiB);
  EXPECT_EQ(host->huge_free_bytes, 8 * kMiB);
  EXPECT_FALSE(meminfo_bytes(meminfo, "Mem"));
  EXPECT_FALSE(parse_meminfo("MemTotal: 5 kB\n"));
  EXPECT_FALSE(parse_meminfo("MemTotal: x kB\nMemAvailable: 1 kB"));
  EXPECT_FALSE(parse_meminfo(""));
  EXPECT_TRUE(read_host_memory());
}

}  // namespace
}  // namespace rram
