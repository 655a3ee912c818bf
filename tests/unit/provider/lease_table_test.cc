// The lease table by event, with stepped time. Connections are small numbers, lease n has id {n}.
#include "provider/lease_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace rram {
namespace {

constexpr std::uint64_t kSegmentBytes = std::uint64_t{2} << 20;
constexpr std::uint64_t kGraceMs = 2'000;
constexpr std::uint64_t kSilentGraceMs = 30'000;

LeaseId id_of(std::uint8_t n) { return {n}; }
LeaseToken token_of(std::uint8_t n) { return {n, n, n}; }

class LeaseTableTest : public testing::Test {
 protected:
  static LeaseTableOptions options() {
    LeaseTableOptions options;
    options.segment_count = 10;
    options.segment_bytes = kSegmentBytes;
    options.grace_ms = kGraceMs;
    options.silent_grace_ms = kSilentGraceMs;
    options.max_leases = 3;
    options.max_leases_per_host = 2;
    options.max_connections_per_lease = 2;
    return options;
  }

  // Lease n, wished for by control connection `control`.
  LeaseAnswer ask(std::uint8_t n, ConnectionId control, std::uint64_t wanted_bytes,
                  std::uint64_t now_ms = 0, const std::string& host = {}) {
    LeaseWish wish;
    wish.id = id_of(n);
    wish.token = token_of(n);
    wish.control = control;
    wish.requester = "host" + std::to_string(n);
    wish.host = host.empty() ? wish.requester : host;
    wish.wanted_bytes = wanted_bytes;
    return table_.grant(std::move(wish), now_ms);
  }
  std::vector<std::uint32_t> segments_of(const LeaseAnswer& answer) {
    return std::get<LeaseView>(answer).segments;
  }
  void scrub_all(const std::vector<FencedLease>& fenced) {
    for (const FencedLease& lease : fenced) {
      for (const std::uint32_t segment : lease.segments) table_.scrubbed(segment);
    }
  }

  LeaseTable table_{options()};
};

TEST_F(LeaseTableTest, wishes_are_rounded_up_to_segments_and_leases_share_none) {
  const auto first = segments_of(ask(1, 11, 1));
  const auto second = segments_of(ask(2, 12, 3 * kSegmentBytes + 1));
  EXPECT_EQ(first.size(), 1);
  EXPECT_EQ(second.size(), 4);
  std::set<std::uint32_t> all(first.begin(), first.end());
  all.insert(second.begin(), second.end());
  EXPECT_EQ(all.size(), 5);
  const LeaseTotals totals = table_.totals();
  EXPECT_EQ(totals.leased_bytes, 5 * kSegmentBytes);
  EXPECT_EQ(totals.free_bytes, 5 * kSegmentBytes);
  EXPECT_EQ(totals.leases, 2);
  EXPECT_EQ(totals.connections, 2);
  EXPECT_EQ(table_.requesters(), (std::vector<std::string>{"host1", "host2"}));
}

TEST_F(LeaseTableTest, zero_means_all_that_is_free) {
  ask(1, 11, 3 * kSegmentBytes);
  EXPECT_EQ(segments_of(ask(2, 12, 0)).size(), 7);
  const LeaseAnswer third = ask(3, 13, 0);
  ASSERT_TRUE(std::holds_alternative<Error>(third));
  EXPECT_EQ(std::get<Error>(third).code, ErrorCode::kNoSpace);
}

TEST_F(LeaseTableTest, too_much_is_refused_with_the_figures) {
  ask(1, 11, 3 * kSegmentBytes);
  const LeaseAnswer refused = ask(2, 12, 8 * kSegmentBytes);
  ASSERT_TRUE(std::holds_alternative<Error>(refused));
  const std::string& message = std::get<Error>(refused).message;
  for (const char* figure : {"16.0 MiB", "20.0 MiB", "14.0 MiB", "6.0 MiB"}) {
    EXPECT_NE(message.find(figure), std::string::npos) << message;
  }
  EXPECT_TRUE(std::holds_alternative<Error>(ask(2, 12, UINT64_MAX)));
}

TEST_F(LeaseTableTest, no_more_leases_than_the_limit) {
  for (std::uint8_t n = 1; n <= 3; ++n) {
    ASSERT_TRUE(std::holds_alternative<LeaseView>(ask(n, n, kSegmentBytes)));
  }
  EXPECT_EQ(std::get<Error>(ask(4, 4, kSegmentBytes)).code, ErrorCode::kUnavailable);
}

TEST_F(LeaseTableTest, attaching_needs_the_id_and_its_token) {
  const auto segments = segments_of(ask(1, 11, 2 * kSegmentBytes));
  ask(2, 12, kSegmentBytes);
  EXPECT_EQ(table_.attach_data(id_of(1), token_of(1), 21, 21)->segments, segments);
  EXPECT_EQ(table_.attach_data(id_of(1), token_of(2), 22, 22).error().code, ErrorCode::kLost);
  EXPECT_EQ(table_.attach_data(id_of(9), token_of(1), 22, 22).error().code, ErrorCode::kLost);
  EXPECT_EQ(table_.attach_data(id_of(9), token_of(1), 22, 22).error().message,
            table_.attach_data(id_of(1), token_of(2), 22, 22).error().message);
  ASSERT_TRUE(table_.attach_data(id_of(1), token_of(1), 22, 22));
  EXPECT_EQ(table_.attach_data(id_of(1), token_of(1), 23, 23).error().code,
            ErrorCode::kUnavailable);
  EXPECT_EQ(table_.totals().connections, 4);
}

TEST_F(LeaseTableTest, release_ends_lanes_first_and_scrubs_when_the_last_has_gone) {
  ask(1, 11, 2 * kSegmentBytes);
  ASSERT_TRUE(table_.attach_data(id_of(1), token_of(1), 21, 21));
  EXPECT_FALSE(table_.release(id_of(1), 21)) << "a lane may not release";
  const std::optional<EndedLease> ended = table_.release(id_of(1), 11);
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->connections, (std::vector<ConnectionId>{21}));
  EXPECT_EQ(ended->size_bytes, 2 * kSegmentBytes);
  EXPECT_TRUE(table_.take_fenced().empty());
  EXPECT_FALSE(table_.attach_data(id_of(1), token_of(1), 22, 22)) << "it is over";
  EXPECT_EQ(table_.totals().reclaiming_bytes, 2 * kSegmentBytes);
  EXPECT_EQ(table_.totals().leases, 0);
  table_.detach(id_of(1), 21, Departure::kClosed, 5);
  const std::vector<FencedLease> fenced = table_.take_fenced();
  ASSERT_EQ(fenced.size(), 1);
  EXPECT_EQ(fenced[0].releasing, 11);
  EXPECT_EQ(table_.totals().free_bytes, 8 * kSegmentBytes);
  scrub_all(fenced);
  EXPECT_EQ(table_.totals().free_bytes, 10 * kSegmentBytes);
  EXPECT_EQ(table_.totals().reclaiming_bytes, 0);
}

TEST_F(LeaseTableTest, a_requester_that_closed_everything_has_the_short_grace) {
  ask(1, 11, kSegmentBytes);
  ASSERT_TRUE(table_.attach_data(id_of(1), token_of(1), 21, 21));
  table_.detach(id_of(1), 21, Departure::kClosed, 1000);
  table_.detach(id_of(1), 11, Departure::kClosed, 1000);
  EXPECT_TRUE(table_.expire(1000 + kGraceMs - 1).empty());
  const std::vector<EndedLease> ended = table_.expire(1000 + kGraceMs);
  ASSERT_EQ(ended.size(), 1);
  EXPECT_EQ(ended[0].requester, "host1");
  EXPECT_EQ(table_.take_fenced().size(), 1);
  EXPECT_TRUE(table_.expire(1000 + kGraceMs).empty());
}

TEST_F(LeaseTableTest, the_short_grace_begins_with_the_last_connection_in_any_order) {
  ask(1, 11, kSegmentBytes);
  ASSERT_TRUE(table_.attach_data(id_of(1), token_of(1), 21, 21));
  table_.detach(id_of(1), 11, Departure::kClosed, 1000);
  EXPECT_TRUE(table_.expire(1000 + kGraceMs).empty()) << "a lane is still alive";
  table_.detach(id_of(1), 21, Departure::kClosed, 5000);
  EXPECT_TRUE(table_.expire(5000 + kGraceMs - 1).empty());
  EXPECT_EQ(table_.expire(5000 + kGraceMs).size(), 1);
}

TEST_F(LeaseTableTest, a_silent_requester_has_the_long_grace) {
  ask(1, 11, kSegmentBytes);
  ASSERT_TRUE(table_.attach_data(id_of(1), token_of(1), 21, 21));
  table_.detach(id_of(1), 11, Departure::kSilent, 1000);
  table_.detach(id_of(1), 21, Departure::kSilent, 1500);
  EXPECT_TRUE(table_.expire(1000 + kSilentGraceMs - 1).empty());
  EXPECT_EQ(table_.expire(1000 + kSilentGraceMs).size(), 1);
}

TEST_F(LeaseTableTest, coming_back_within_the_grace_keeps_the_lease) {
  const auto segments = segments_of(ask(1, 11, kSegmentBytes));
  table_.detach(id_of(1), 11, Departure::kClosed, 0);
  const Result<LeaseView> back = table_.attach_control(id_of(1), token_of(1), 31);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->segments, segments);
  EXPECT_FALSE(back->replaced);
  EXPECT_TRUE(table_.expire(1'000'000).empty());
  table_.detach(id_of(1), 31, Departure::kClosed, 1'000'000);
  EXPECT_EQ(table_.expire(1'000'000 + kGraceMs).size(), 1);
  EXPECT_FALSE(table_.attach_control(id_of(1), token_of(1), 32)) << "too late";
}

TEST_F(LeaseTableTest, a_lane_takes_the_place_of_the_one_with_its_number) {
  ask(1, 11, kSegmentBytes);
  EXPECT_FALSE(table_.attach_data(id_of(1), token_of(1), 7, 21)->replaced);
  EXPECT_FALSE(table_.attach_data(id_of(1), token_of(1), 8, 22)->replaced);
  EXPECT_EQ(table_.attach_data(id_of(1), token_of(1), 7, 23)->replaced, 21);
  EXPECT_TRUE(table_.is_alone_in_lane(id_of(1), 22));
  EXPECT_FALSE(table_.is_alone_in_lane(id_of(1), 23));
  EXPECT_EQ(table_.attach_data(id_of(1), token_of(1), 7, 24)->replaced, 23);
  table_.detach(id_of(1), 23, Departure::kClosed, 0);
  EXPECT_FALSE(table_.is_alone_in_lane(id_of(1), 24)) << "the first of them is still there";
  EXPECT_EQ(table_.attach_data(id_of(1), token_of(1), 7, 25)->replaced, 24);
  table_.detach(id_of(1), 24, Departure::kClosed, 0);
  table_.detach(id_of(1), 21, Departure::kClosed, 0);
  EXPECT_TRUE(table_.is_alone_in_lane(id_of(1), 25));
  EXPECT_TRUE(table_.is_alone_in_lane(id_of(9), 25)) << "there is no such lease";
  const std::optional<EndedLease> ended = table_.release(id_of(1), 11);
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->connections, (std::vector<ConnectionId>{22, 25}));
}

TEST_F(LeaseTableTest, a_newer_control_connection_replaces_the_old_one) {
  ask(1, 11, kSegmentBytes);
  EXPECT_EQ(table_.attach_control(id_of(1), token_of(1), 31)->replaced, 11);
  EXPECT_FALSE(table_.release(id_of(1), 11)) << "it does not hold the lease any more";
  const std::optional<EndedLease> ended = table_.release(id_of(1), 31);
  ASSERT_TRUE(ended);
  EXPECT_TRUE(table_.take_fenced().empty()) << "the replaced one may still be sending";
  table_.detach(id_of(1), 11, Departure::kClosed, 0);
  EXPECT_EQ(table_.take_fenced().size(), 1);
}

TEST_F(LeaseTableTest, memory_on_its_way_back_is_waited_for) {
  ask(1, 11, 6 * kSegmentBytes);
  ASSERT_TRUE(table_.release(id_of(1), 11));
  const std::vector<FencedLease> fenced = table_.take_fenced();
  EXPECT_TRUE(std::holds_alternative<LeaseView>(ask(2, 12, 4 * kSegmentBytes)))
      << "what fits now needs no waiting";
  const LeaseAnswer all = ask(3, 13, 0);
  ASSERT_TRUE(std::holds_alternative<LeaseMustWait>(all));
  EXPECT_EQ(std::get<LeaseMustWait>(all).reclaiming_bytes, 6 * kSegmentBytes);
  EXPECT_GE(std::get<LeaseMustWait>(all).retry_ms, 1);
  EXPECT_TRUE(std::holds_alternative<LeaseMustWait>(ask(3, 13, 6 * kSegmentBytes)));
  EXPECT_TRUE(std::holds_alternative<Error>(ask(3, 13, 7 * kSegmentBytes)));
  scrub_all(fenced);
  EXPECT_EQ(segments_of(ask(3, 13, 0)).size(), 6);
}

TEST_F(LeaseTableTest, a_lease_whose_grace_soon_ends_is_waited_for_and_a_silent_one_is_not) {
  ask(1, 11, 0);
  table_.detach(id_of(1), 11, Departure::kClosed, 0);
  EXPECT_TRUE(std::holds_alternative<LeaseMustWait>(ask(2, 12, 0, 100)));
  ASSERT_EQ(table_.expire(kGraceMs).size(), 1);
  scrub_all(table_.take_fenced());
  ask(3, 13, 0, kGraceMs);
  table_.detach(id_of(3), 13, Departure::kSilent, 10'000);
  EXPECT_TRUE(std::holds_alternative<Error>(ask(2, 12, 0, 10'100)));
  EXPECT_TRUE(std::holds_alternative<LeaseMustWait>(ask(2, 12, 0, 36'000)));
}

TEST_F(LeaseTableTest, one_host_has_a_limit_of_its_own_and_the_others_are_served) {
  ask(1, 11, kSegmentBytes, 0, "a");
  ask(2, 12, kSegmentBytes, 0, "a");
  const LeaseAnswer third = ask(3, 13, kSegmentBytes, 0, "a");
  ASSERT_TRUE(std::holds_alternative<Error>(third));
  EXPECT_EQ(std::get<Error>(third).code, ErrorCode::kUnavailable);
  EXPECT_NE(std::get<Error>(third).message.find("more than 2 leases to one host, and a has them"),
            std::string::npos);
  EXPECT_EQ(segments_of(ask(3, 13, kSegmentBytes, 0, "b")).size(), 1);
  ASSERT_TRUE(table_.release(id_of(1), 11));
  scrub_all(table_.take_fenced());
  EXPECT_TRUE(table_.release(id_of(3), 13));
  scrub_all(table_.take_fenced());
  EXPECT_EQ(segments_of(ask(4, 14, kSegmentBytes, 0, "a")).size(), 1);
}

TEST_F(LeaseTableTest, detaching_what_is_not_attached_changes_nothing) {
  ask(1, 11, kSegmentBytes);
  table_.detach(id_of(1), 99, Departure::kClosed, 0);
  table_.detach(id_of(7), 11, Departure::kClosed, 0);
  EXPECT_TRUE(table_.expire(1'000'000).empty());
  EXPECT_EQ(table_.totals().connections, 1);
}

TEST_F(LeaseTableTest, whether_descriptors_were_passed_is_told_to_the_scrubber) {
  LeaseWish wish;
  wish.id = id_of(1);
  wish.token = token_of(1);
  wish.control = 11;
  wish.pass_descriptors = true;
  table_.grant(wish, 0);
  ASSERT_TRUE(table_.release(id_of(1), 11));
  EXPECT_TRUE(table_.take_fenced().at(0).descriptors_passed);
}

// ---- a pool that is still being pinned ---------------------------------------------------------

class UnpinnedTableTest : public LeaseTableTest {
 protected:
  UnpinnedTableTest() {
    LeaseTableOptions unpinned = options();
    unpinned.starts_unpinned = true;
    table_ = LeaseTable(unpinned);
  }
};

TEST_F(UnpinnedTableTest, nothing_is_free_until_it_is_pinned_and_all_of_it_is_waited_for) {
  EXPECT_EQ(table_.totals().free_bytes, 0);
  EXPECT_EQ(table_.totals().unpinned_bytes, 10 * kSegmentBytes);
  EXPECT_EQ(table_.totals().reclaiming_bytes, 0);
  for (const std::uint64_t wanted_bytes : {std::uint64_t{0}, kSegmentBytes, 10 * kSegmentBytes}) {
    const LeaseAnswer answer = ask(1, 11, wanted_bytes);
    ASSERT_TRUE(std::holds_alternative<LeaseMustWait>(answer)) << wanted_bytes;
    EXPECT_EQ(std::get<LeaseMustWait>(answer).reclaiming_bytes, 10 * kSegmentBytes);
    EXPECT_GE(std::get<LeaseMustWait>(answer).retry_ms, 1);
  }
  const LeaseAnswer too_much = ask(1, 11, 11 * kSegmentBytes);
  ASSERT_TRUE(std::holds_alternative<Error>(too_much));
  EXPECT_NE(std::get<Error>(too_much).message.find("20.0 MiB still being made ready"),
            std::string::npos)
      << std::get<Error>(too_much).message;
}

TEST_F(UnpinnedTableTest, what_is_pinned_is_lent_while_the_rest_is_not) {
  table_.pinned(4);
  table_.pinned(2);
  EXPECT_TRUE(std::holds_alternative<LeaseMustWait>(ask(2, 12, 3 * kSegmentBytes)));
  EXPECT_TRUE(std::holds_alternative<LeaseMustWait>(ask(2, 12, 0))) << "all means all of the pool";
  EXPECT_EQ(segments_of(ask(1, 11, 2 * kSegmentBytes)), (std::vector<std::uint32_t>{2, 4}));
  for (const std::uint32_t segment : {0U, 1U, 3U, 5U, 6U, 7U, 8U, 9U}) table_.pinned(segment);
  EXPECT_EQ(segments_of(ask(2, 12, 0)).size(), 8);
  EXPECT_EQ(table_.totals().unpinned_bytes, 0);
}

TEST_F(UnpinnedTableTest, a_lease_may_end_while_the_rest_is_being_pinned) {
  table_.pinned(0);
  ask(1, 11, kSegmentBytes);
  ASSERT_TRUE(table_.release(id_of(1), 11));
  EXPECT_EQ(table_.totals().reclaiming_bytes, kSegmentBytes);
  EXPECT_EQ(table_.totals().unpinned_bytes, 9 * kSegmentBytes);
  scrub_all(table_.take_fenced());
  EXPECT_EQ(table_.totals().free_bytes, kSegmentBytes);
}

TEST_F(UnpinnedTableTest, after_something_was_lent_the_pool_shrinks_to_what_is_pinned) {
  for (std::uint32_t segment = 0; segment < 6; ++segment) table_.pinned(segment);
  ask(1, 11, kSegmentBytes);
  ASSERT_TRUE(table_.release(id_of(1), 11));
  scrub_all(table_.take_fenced());
  const PinningEnd end = table_.end_pinning();
  EXPECT_TRUE(end.goes_on) << "ever lent is enough";
  EXPECT_EQ(end.lost, (std::vector<std::uint32_t>{6, 7, 8, 9}));
  EXPECT_EQ(table_.totals().unpinned_bytes, 0);
  const LeaseAnswer too_much = ask(2, 12, 7 * kSegmentBytes);
  ASSERT_TRUE(std::holds_alternative<Error>(too_much)) << "nobody waits for what never comes";
  EXPECT_NE(std::get<Error>(too_much).message.find("of the pool of 12.0 MiB"), std::string::npos)
      << std::get<Error>(too_much).message;
  EXPECT_EQ(segments_of(ask(2, 12, 0)).size(), 6);
}

TEST_F(UnpinnedTableTest, if_nothing_was_ever_lent_nothing_will_be) {
  table_.pinned(0);
  EXPECT_FALSE(table_.end_pinning().goes_on);
  const LeaseAnswer refused = ask(1, 11, kSegmentBytes);
  ASSERT_TRUE(std::holds_alternative<Error>(refused));
  EXPECT_EQ(std::get<Error>(refused).code, ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace rram
