// What READ and WRITE do over the sockets of a provider, also those that are wrong or break off.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <span>
#include <stop_token>
#include <thread>
#include <vector>

#include "provider/status.h"
#include "tests/process/provider_fixture.h"

namespace rram::test {
namespace {

TEST_F(ProviderServerTest, what_was_written_is_read_at_every_size_over_both_sockets) {
  start();
  for (const Endpoint& endpoint : {tcp(), unix_socket()}) {
    Holder holder = hold(endpoint, 0);
    auto lane = open_lane(endpoint, holder);
    unsigned seed = 0;
    for (const std::uint32_t length : {1U, 31U, 32U, 511U, 512U, 513U, 4096U, 100'001U, 2U << 20}) {
      const std::uint64_t offset = (2 * kMiB - length) / 3;
      const std::vector<std::byte> data = pattern(length, ++seed);
      EXPECT_TRUE(lane->write(5, offset, data)) << length;
      EXPECT_EQ(lane->read(5, offset, length), data) << length;
    }
    holder.control->send(encode_empty(FrameType::kRelease, 1));
    ASSERT_TRUE(all_is_free_again());
  }
}

TEST_F(ProviderServerTest, requests_that_come_in_one_piece_or_in_crumbs_are_answered_in_order) {
  start();
  Holder holder = hold(tcp(), 0);
  auto lane = open_lane(tcp(), holder);
  for (const std::size_t crumb_bytes : {std::size_t{1} << 20, std::size_t{7}, std::size_t{501}}) {
    std::vector<std::byte> stream;
    const auto append = [&](std::span<const std::byte> bytes) {
      stream.insert(stream.end(), bytes.begin(), bytes.end());
    };
    constexpr std::uint64_t kRequests = 60;
    for (std::uint64_t i = 0; i < kRequests; ++i) {
      const auto length = static_cast<std::uint32_t>(1 + i * 13);
      append(bytes_of(make_write(2 * i, 1, i * 1000, length)));
      append(pattern(length, static_cast<unsigned>(i)));
      append(bytes_of(make_read(2 * i + 1, 1, i * 1000, length)));
    }
    for (std::size_t at = 0; at < stream.size(); at += crumb_bytes) {
      lane->send(std::span(stream).subspan(at, std::min(crumb_bytes, stream.size() - at)));
    }
    for (std::uint64_t i = 0; i < kRequests; ++i) {
      const auto written = lane->receive();
      ASSERT_TRUE(written);
      EXPECT_EQ(written->header.type, FrameType::kWriteReply);
      EXPECT_EQ(written->header.tag, 2 * i);
      const auto read = lane->receive();
      ASSERT_TRUE(read);
      EXPECT_EQ(read->header.tag, 2 * i + 1);
      EXPECT_EQ(read->body, pattern(1 + i * 13, static_cast<unsigned>(i)));
    }
  }
}

TEST_F(ProviderServerTest, a_write_does_not_overtake_the_read_before_it) {
  start();
  Holder holder = hold(tcp(), 0);
  auto lane = open_lane(tcp(), holder);
  const std::vector<std::byte> old_data = pattern(2 * kMiB, 1);
  const std::vector<std::byte> new_data = pattern(2 * kMiB, 2);
  EXPECT_TRUE(lane->write(0, 0, old_data));
  // More replies than the sockets hold, so that the last of them cannot leave before the WRITE is
  // there; it is sent from a thread of its own because the provider must not take it yet.
  constexpr int kReads = 16;
  for (int i = 0; i < kReads; ++i) lane->send(bytes_of(make_read(10, 0, 0, 2 << 20)));
  std::jthread writer([&](const std::stop_token& given_up) {
    // After a failed check nobody reads the replies any more, so the provider never takes it all.
    const std::stop_callback cut(given_up, [&] { lane->close_sending(); });
    lane->send(bytes_of(make_write(11, 0, 0, 2 << 20)));
    lane->send(new_data);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  for (int i = 0; i < kReads; ++i) {
    const auto reply = lane->receive();
    ASSERT_TRUE(reply);
    EXPECT_TRUE(reply->body == old_data) << i;
  }
  writer.join();
  EXPECT_EQ(lane->receive()->header.type, FrameType::kWriteReply);
  EXPECT_TRUE(lane->read(0, 0, 2 << 20) == new_data);
}

TEST_F(ProviderServerTest, every_request_outside_its_region_ends_the_lane) {
  start();
  Holder neighbour = hold(tcp(), 2 * kMiB);
  Holder holder = hold(tcp(), 4 * kMiB);
  struct Case {
    std::uint32_t region;
    std::uint64_t offset;
    std::uint32_t length;
    WireError answer;
  };
  const std::vector<Case> cases = {
      {0, 2 * kMiB, 1, WireError::kOutOfRange},   {0, 2 * kMiB - 1, 2, WireError::kOutOfRange},
      {1, UINT64_MAX, 1, WireError::kOutOfRange}, {1, UINT64_MAX - 3, 8, WireError::kOutOfRange},
      {2, 0, 1, WireError::kOutOfRange},          {UINT32_MAX, 0, 1, WireError::kOutOfRange},
      {0, 0, 3 << 20, WireError::kOutOfRange},
  };
  for (const Case& c : cases) {
    for (const bool is_write : {false, true}) {
      auto lane = open_lane(tcp(), holder);
      lane->send(bytes_of(is_write ? make_write(1, c.region, c.offset, c.length)
                                   : make_read(1, c.region, c.offset, c.length)));
      EXPECT_EQ(lane->receive_error(), c.answer);
      EXPECT_TRUE(lane->is_closed_by_peer());
    }
  }
  for (const std::uint32_t length : {0U, kMaxDataBytes + 1, UINT32_MAX}) {
    auto lane = open_lane(tcp(), holder);
    DataRequest request = make_read(1, 0, 0, 16);
    request.length = length;
    lane->send(bytes_of(request));
    EXPECT_EQ(lane->receive_error(), WireError::kProtocol);
  }
  auto lane = open_lane(tcp(), holder);
  EXPECT_TRUE(is_zero(*lane->read(0, 0, 2 * kMiB)));
  EXPECT_GE(server_->stats().protocol_errors, 2 * cases.size());
}

TEST_F(ProviderServerTest, a_lane_that_breaks_in_the_middle_of_a_write_changes_only_its_target) {
  start();
  Holder holder = hold(tcp(), 2 * kMiB);
  for (int i = 0; i < 20; ++i) {
    auto lane = open_lane(tcp(), holder);
    lane->send(bytes_of(make_write(1, 0, kMiB, 1 << 20)));
    lane->send(pattern(static_cast<std::size_t>(i) * 40'000, 5));
  }
  auto lane = open_lane(tcp(), holder);
  EXPECT_TRUE(is_zero(*lane->read(0, 0, 1 << 20)));
  EXPECT_TRUE(eventually([&] { return server_->stats().connections == 2; }));
}

TEST_F(ProviderServerTest, a_peer_that_does_not_read_its_replies_is_fenced_when_its_lease_ends) {
  start();
  Holder holder = hold(tcp(), 0);
  auto lane = open_lane(tcp(), holder);
  for (int i = 0; i < 1000; ++i) {
    const DataRequest request = make_read(1, 0, 0, 2 << 20);
    if (::send(lane->fd(), &request, sizeof request, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) break;
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  holder.control->send(encode_empty(FrameType::kRelease, 1));
  EXPECT_EQ(holder.control->receive()->header.type, FrameType::kReleased);
  EXPECT_TRUE(all_is_free_again());
}

TEST_F(ProviderServerTest, counters_say_what_the_lanes_did) {
  start();
  Holder holder = hold(tcp(), 0);
  auto first = open_lane(tcp(), holder);
  auto second = open_lane(tcp(), holder);
  EXPECT_TRUE(first->write(0, 0, pattern(100, 1)));
  EXPECT_TRUE(second->write(0, 0, pattern(1000, 1)));
  EXPECT_TRUE(second->read(0, 0, 500));
  const Result<StatsReply> stats = query_stats(tcp(), std::nullopt, 5'000);
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(stats->writes, 2);
  EXPECT_EQ(stats->written_bytes, 1100);
  EXPECT_EQ(stats->reads, 1);
  EXPECT_EQ(stats->read_bytes, 500);
  EXPECT_EQ(stats->leases, 1);
  EXPECT_EQ(stats->connections, 3);
  EXPECT_EQ(stats->pool_bytes, kPoolBytes);
}

}  // namespace
}  // namespace rram::test
