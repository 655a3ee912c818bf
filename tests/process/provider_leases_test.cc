// How a lease begins, who may take it over, and how its memory comes back.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "tests/process/provider_fixture.h"

namespace rram::test {
namespace {

TEST_F(ProviderServerTest, leases_are_whole_segments_until_the_pool_is_empty) {
  start();
  Holder first = hold(tcp(), 3 * kMiB);
  EXPECT_EQ(first.lease.grant.bytes, 4 * kMiB);
  EXPECT_EQ(first.lease.grant.region_count, 2);
  Holder rest = hold(unix_socket(), 0);
  EXPECT_EQ(rest.lease.grant.bytes, kPoolBytes - 4 * kMiB);
  RawRequester third(tcp());
  EXPECT_TRUE(third.hello(Role::kControl));
  third.send(encode(9, LeaseRequest{0, 0, 0}));
  EXPECT_EQ(third.receive_error(), WireError::kNoSpace);
  const StatsReply stats = server_->stats();
  EXPECT_EQ(stats.leases, 2);
  EXPECT_EQ(stats.leased_bytes, kPoolBytes);
}

TEST_F(ProviderServerTest, a_wrong_token_has_the_answer_of_a_lease_that_does_not_exist) {
  start();
  Holder holder = hold(tcp(), kMiB);
  for (const bool known_id : {true, false}) {
    for (const Role role : {Role::kControl, Role::kData}) {
      RawRequester intruder(tcp());
      EXPECT_TRUE(intruder.hello(role));
      LeaseId id = holder.lease.grant.lease_id;
      if (!known_id) id[3] ^= 1;
      LeaseToken token = holder.lease.grant.token;
      token[15] ^= 1;
      intruder.send(encode(2, Attach{id, token, role == Role::kData ? 1ULL : 0ULL}));
      EXPECT_EQ(intruder.receive_error(), WireError::kNoLease);
      EXPECT_TRUE(intruder.is_closed_by_peer());
    }
  }
  EXPECT_TRUE(open_lane(tcp(), holder)->write(0, 0, pattern(10, 1)));
}

TEST_F(ProviderServerTest, release_ends_the_lanes_and_gives_the_memory_back) {
  start();
  Holder holder = hold(tcp(), 0);
  auto lane = open_lane(tcp(), holder);
  EXPECT_TRUE(lane->write(0, 0, pattern(1000, 1)));
  holder.control->send(encode_empty(FrameType::kRelease, 77));
  const std::optional<RawFrame> released = holder.control->receive();
  ASSERT_TRUE(released);
  EXPECT_EQ(released->header.type, FrameType::kReleased);
  EXPECT_EQ(released->header.tag, 77);
  EXPECT_EQ(lane->receive_error(), WireError::kLeaseOver);
  EXPECT_TRUE(lane->is_closed_by_peer());
  EXPECT_TRUE(holder.control->is_closed_by_peer());
  EXPECT_TRUE(all_is_free_again());
}

TEST_F(ProviderServerTest, memory_comes_back_after_connection_loss_and_grace) {
  start();
  Holder holder = hold(tcp(), 0);
  auto lane = open_lane(tcp(), holder);
  holder.control->close();
  lane->close();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(server_->stats().leased_bytes, kPoolBytes) << "within the grace time";
  EXPECT_TRUE(all_is_free_again());
  EXPECT_EQ(server_->stats().leases, 0);
  EXPECT_EQ(server_->stats().connections, 0);
}

TEST_F(ProviderServerTest, who_comes_back_within_the_grace_finds_the_lease_and_its_data) {
  options_.grace_ms = 2'000;
  start();
  Holder holder = hold(tcp(), 4 * kMiB);
  const std::vector<std::byte> data = pattern(5000, 3);
  EXPECT_TRUE(open_lane(tcp(), holder)->write(1, 77, data));
  holder.control->close();
  holder.control = std::make_unique<RawRequester>(tcp());
  EXPECT_TRUE(holder.control->hello(Role::kControl));
  EXPECT_TRUE(holder.control->attach(holder.lease.grant.lease_id, holder.lease.grant.token));
  EXPECT_EQ(open_lane(tcp(), holder)->read(1, 77, 5000), data);
}

TEST_F(ProviderServerTest, a_second_control_connection_replaces_the_first) {
  start();
  Holder holder = hold(tcp(), kMiB);
  RawRequester second(tcp());
  EXPECT_TRUE(second.hello(Role::kControl));
  EXPECT_TRUE(second.attach(holder.lease.grant.lease_id, holder.lease.grant.token));
  EXPECT_EQ(holder.control->receive_error(), WireError::kReplaced);
  second.send(encode_empty(FrameType::kHeartbeat, 8));
  EXPECT_EQ(second.receive()->header.type, FrameType::kHeartbeatReply);
}

TEST_F(ProviderServerTest, a_lane_that_was_replaced_writes_nothing_any_more) {
  start();
  Holder holder = hold(tcp(), kMiB);
  auto first = open_lane(tcp(), holder, 7);
  auto bystander = open_lane(tcp(), holder, 8);
  const std::vector<std::byte> stray = pattern(kMiB, 1);
  const std::vector<std::byte> data = pattern(kMiB, 2);
  first->send(bytes_of(make_write(9, 0, 0, kMiB)));
  first->send(std::span(stray).first(kMiB / 2));
  auto second = open_lane(tcp(), holder, 7);
  EXPECT_TRUE(second->write(0, 0, data));
  first->send(std::span(stray).subspan(kMiB / 2));
  EXPECT_TRUE(first->is_closed_by_peer());
  EXPECT_EQ(second->read(0, 0, kMiB), data);
  EXPECT_EQ(bystander->read(0, 0, kMiB), data) << "another lane is left alone";
}

TEST_F(ProviderServerTest, a_silent_requester_is_cut_and_loses_the_lease_after_the_long_grace) {
  options_.grace_ms = 50;  // so heartbeats are due every 50 ms, and 250 ms are silence
  options_.silent_grace_ms = 400;
  start();
  Holder holder = hold(tcp(), 0);
  auto lane = open_lane(tcp(), holder);
  EXPECT_EQ(holder.control->receive_error(), WireError::kTimedOut);
  EXPECT_EQ(server_->stats().leased_bytes, kPoolBytes);
  EXPECT_TRUE(all_is_free_again());
  EXPECT_TRUE(lane->is_closed_by_peer());
}

TEST_F(ProviderServerTest, memory_that_is_being_taken_back_is_waited_for) {
  start();
  hold(tcp(), 0).control->close();
  RawRequester next(tcp());
  EXPECT_TRUE(next.hello(Role::kControl));
  bool waited = false;
  EXPECT_TRUE(eventually([&] {
    const std::optional<RawFrame> answer = next.ask_lease(0);
    waited = waited || answer->header.type == FrameType::kLeaseWait;
    return answer->header.type == FrameType::kLeaseGrant;
  }));
  EXPECT_TRUE(waited);
}

}  // namespace
}  // namespace rram::test
