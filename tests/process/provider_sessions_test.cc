// What a provider answers to those who connect: who is admitted, who is sent away, and that nobody
// holds up anybody else.
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <sys/socket.h>

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <sstream>
#include <thread>
#include <vector>

#include "provider/status.h"
#include "rdma/wire/text.h"
#include "tests/process/provider_fixture.h"

namespace rram::test {
namespace {

using Clock = std::chrono::steady_clock;

TEST_F(ProviderServerTest, hello_tells_what_the_pool_has) {
  start();
  RawRequester requester(tcp());
  const std::optional<HelloReply> reply = requester.hello(Role::kControl);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->pool_bytes, kPoolBytes);
  EXPECT_EQ(reply->free_bytes, kPoolBytes);
  EXPECT_EQ(reply->segment_bytes, 2 * kMiB);
}

TEST_F(ProviderServerTest, garbage_ends_the_session_and_nothing_else) {
  start();
  for (unsigned seed = 0; seed < 40; ++seed) {
    RawRequester requester(seed % 2 == 0 ? tcp() : unix_socket());
    if (seed % 3 == 1) requester.hello(Role::kControl);
    if (seed % 3 == 2) requester.hello(Role::kData);
    requester.send(pattern(1 + seed * 97, seed));
    requester.close_sending();
    EXPECT_TRUE(requester.is_closed_by_peer());
  }
  RawRequester requester(tcp());
  EXPECT_TRUE(requester.hello(Role::kControl));
  EXPECT_GT(server_->stats().protocol_errors, 10);
}

TEST_F(ProviderServerTest, a_frame_larger_than_its_kind_is_refused_from_its_header) {
  start();
  RawRequester requester(tcp());
  const FrameHeader header{1U << 30, FrameType::kHello, 0, 1};
  requester.send(bytes_of(header));
  EXPECT_EQ(requester.receive_error(), WireError::kProtocol);
  EXPECT_TRUE(requester.is_closed_by_peer());
}

TEST_F(ProviderServerTest, a_version_that_nobody_speaks_is_answered_with_both_ranges) {
  start();
  RawRequester requester(tcp());
  requester.send(encode(1, Hello{kMagic, 7, 9, 0, Role::kControl, 0, make_name("test")}));
  EXPECT_EQ(requester.receive_error(), WireError::kVersion);
}

TEST_F(ProviderServerTest, a_slow_handshake_is_cut_and_half_a_frame_is_slow) {
  options_.times.handshake_limit_ms = 150;
  start();
  RawRequester silent(tcp());
  RawRequester half(unix_socket());
  const FrameBytes hello = encode(1, Hello{kMagic, 1, 1, 0, Role::kData, 0, make_name("test")});
  half.send(std::span(hello).first(20));
  RawRequester unattached(tcp());
  EXPECT_TRUE(unattached.hello(Role::kData));
  const auto before = Clock::now();
  EXPECT_EQ(silent.receive_error(), WireError::kTimedOut);
  EXPECT_EQ(half.receive_error(), WireError::kTimedOut);
  EXPECT_EQ(unattached.receive_error(), WireError::kTimedOut);
  EXPECT_TRUE(silent.is_closed_by_peer());
  EXPECT_TRUE(half.is_closed_by_peer());
  EXPECT_LT(Clock::now() - before, std::chrono::seconds(3));
}

TEST_F(ProviderServerTest, more_connections_than_the_limit_are_told_so) {
  options_.max_connections = 3;
  start();
  std::vector<std::unique_ptr<RawRequester>> requesters;
  for (int i = 0; i < 3; ++i) {
    requesters.push_back(std::make_unique<RawRequester>(tcp()));
    EXPECT_TRUE(requesters.back()->hello(Role::kControl));
  }
  RawRequester fourth(tcp());
  EXPECT_EQ(fourth.receive_error(), WireError::kLimit);
  EXPECT_TRUE(fourth.is_closed_by_peer());
  requesters.clear();
  EXPECT_TRUE(eventually([&] { return RawRequester(tcp()).hello(Role::kControl).has_value(); }));
  EXPECT_GE(server_->stats().rejected_connections, 1);
}

TEST_F(ProviderServerTest, those_who_are_refused_take_nobodys_place) {
  options_.max_connections = 2;
  options_.times.linger_ms = 60'000;
  start();
  RawRequester staying(tcp());
  EXPECT_TRUE(staying.hello(Role::kControl));
  auto leaving = std::make_unique<RawRequester>(tcp());
  EXPECT_TRUE(leaving->hello(Role::kControl));
  std::vector<std::unique_ptr<RawRequester>> crowd;  // that does not even read its refusal
  for (int i = 0; i < 100; ++i) crowd.push_back(std::make_unique<RawRequester>(tcp()));
  // They are welcomed in order: once the last has been sent away, none can take the place that is
  // about to be free.
  EXPECT_TRUE(crowd.back()->is_closed_by_peer());
  leaving.reset();
  bool is_admitted = false;
  for (int i = 0; i < 100 && !is_admitted; ++i) {
    is_admitted = RawRequester(tcp()).hello(Role::kControl).has_value();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(is_admitted);
}

TEST_F(ProviderServerTest, who_stays_silent_takes_no_place_of_other_addresses) {
  options_.max_unproved_connections = 4;
  std::ostringstream log;
  options_.log = std::make_shared<spdlog::logger>(
      "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log));
  start();
  Holder holder = hold(tcp(), kMiB);
  const std::unique_ptr<RawRequester> lane = open_lane(tcp(), holder);
  ASSERT_TRUE(lane) << "who has a lease does not count";
  std::vector<std::unique_ptr<RawRequester>> silent;
  for (int i = 0; i < 4; ++i) silent.push_back(std::make_unique<RawRequester>(tcp()));
  EXPECT_TRUE(silent[3]->hello(Role::kControl)) << "HELLO alone shows nothing";
  for (int i = 0; i < 3; ++i) {
    RawRequester refused(tcp());
    EXPECT_EQ(refused.receive_error(), WireError::kLimit);
    EXPECT_TRUE(refused.is_closed_by_peer());
  }
  EXPECT_TRUE(RawRequester(unix_socket()).hello(Role::kControl)) << "another address";
  EXPECT_TRUE(lane->write(0, 0, pattern(100, 1)));
  silent.clear();
  EXPECT_TRUE(eventually([&] { return RawRequester(tcp()).hello(Role::kControl).has_value(); }));
  server_.reset();
  const std::string lines = log.str();
  const auto first = lines.find("refused: 127.0.0.1 has 4 connections here");
  ASSERT_NE(first, std::string::npos) << lines;
  EXPECT_EQ(lines.find("refused: ", first + 1), std::string::npos) << "one line, not three";
}

TEST_F(ProviderServerTest, data_before_attach_is_a_protocol_error) {
  start();
  RawRequester lane(tcp());
  EXPECT_TRUE(lane.hello(Role::kData));
  lane.send(bytes_of(make_read(1, 0, 0, 16)));
  EXPECT_EQ(lane.receive_error(), WireError::kProtocol);
}

TEST_F(ProviderServerTest, a_requester_that_asks_without_reading_waits_and_harms_nobody) {
  start();
  Holder greedy = hold(tcp(), kMiB);
  const FrameBytes question = encode_empty(FrameType::kStatsRequest, 5);
  std::vector<std::byte> many;
  for (int i = 0; i < 100'000; ++i) many.insert(many.end(), question.begin(), question.end());
  // As much as the sockets take.
  ::send(greedy.control->fd(), many.data(), many.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  Holder other = hold(tcp(), kMiB);
  EXPECT_TRUE(open_lane(tcp(), other)->write(0, 0, pattern(100, 1)));
}

TEST_F(ProviderServerTest, a_connection_without_the_key_gets_nowhere) {
  const Result<PresharedKey> key = generate_key();
  ASSERT_TRUE(key);
  options_.key = *key;
  start();
  EXPECT_TRUE(query_stats(tcp(), *key, 5'000));
  EXPECT_TRUE(query_stats(unix_socket(), *key, 5'000));
  EXPECT_EQ(query_stats(tcp(), *generate_key(), 5'000).error().code, ErrorCode::kRefused);
  EXPECT_EQ(query_stats(tcp(), std::nullopt, 5'000).error().code, ErrorCode::kRefused);
  RawRequester requester(tcp());
  EXPECT_TRUE(requester.hello(Role::kControl));
  requester.send(encode(2, LeaseRequest{0, 0, 0}));
  EXPECT_EQ(requester.receive_error(), WireError::kProtocol);
  EXPECT_GE(server_->stats().rejected_connections, 1);
}

}  // namespace
}  // namespace rram::test
