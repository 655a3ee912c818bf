#include "base/size_text.h"

#include <gtest/gtest.h>

#include "base/range_check.h"

namespace rram {
namespace {

TEST(SizeText, sizes_take_units_of_1024_and_fractions) {
  EXPECT_EQ(*parse_size_bytes("4096"), 4096U);
  EXPECT_EQ(*parse_size_bytes("1K"), 1024U);
  EXPECT_EQ(*parse_size_bytes("14G"), 14ULL << 30);
  EXPECT_EQ(*parse_size_bytes("1.5T"), 3ULL << 39);
  EXPECT_EQ(*parse_size_bytes("512MiB"), 512ULL << 20);
  EXPECT_EQ(*parse_size_bytes("2m"), 2ULL << 20);
}

TEST(SizeText, what_is_no_size_is_refused_with_its_text) {
  for (const char* text :
       {"", "G", "1X", "1GX", "-1G", "1 G", "0x10", "1e3", "nan", "inf", "99999999P"}) {
    const Result<std::uint64_t> size = parse_size_bytes(text);
    ASSERT_FALSE(size.has_value()) << text;
    EXPECT_EQ(size.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(size.error().message.find(std::string("'") + text + "'"), std::string::npos);
  }
}

TEST(SizeText, durations_are_seconds_unless_they_name_a_unit) {
  EXPECT_EQ(*parse_duration_ms("5"), 5000U);
  EXPECT_EQ(*parse_duration_ms("0.5s"), 500U);
  EXPECT_EQ(*parse_duration_ms("250ms"), 250U);
  EXPECT_EQ(*parse_duration_ms("2m"), 120'000U);
  for (const char* text : {"", "s", "5h", "-1", "5 s"}) {
    EXPECT_FALSE(parse_duration_ms(text).has_value()) << text;
  }
}

TEST(SizeText, sizes_are_shown_with_one_digit_in_the_largest_unit) {
  EXPECT_EQ(size_text(0), "0 B");
  EXPECT_EQ(size_text(1023), "1023 B");
  EXPECT_EQ(size_text(1024), "1.0 KiB");
  EXPECT_EQ(size_text(3ULL << 30), "3.0 GiB");
}

TEST(RangeCheck, no_sum_can_wrap) {
  EXPECT_TRUE(range_is_inside(0, 10, 10));
  EXPECT_TRUE(range_is_inside(10, 0, 10));
  EXPECT_FALSE(range_is_inside(11, 0, 10));
  EXPECT_FALSE(range_is_inside(1, 10, 10));
  EXPECT_FALSE(range_is_inside(~0ULL, 2, 10));
  EXPECT_FALSE(range_is_inside(2, ~0ULL, 10));
}

}  // namespace
}  // namespace rram
