// What a provider does with peers that obey the protocol and with those that do not.
#include "provider/server.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <sstream>
#include <thread>
#include <vector>

#include "base/mapping.h"
#include "provider/status.h"
#include "rdma/wire/text.h"
#include "tests/process/provider_fixture.h"

namespace rram::test {
namespace {

using Clock = std::chrono::steady_clock;

using ProviderServerTest = ProviderFixture;

// ---- sessions ----------------------------------------------------------------------------------

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

// ---- leases ------------------------------------------------------------------------------------

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

// ---- isolation ---------------------------------------------------------------------------------

TEST_F(ProviderServerTest, nothing_of_a_lease_is_readable_in_the_next_one) {
  start();
  const std::vector<std::byte> canary(kMiB, std::byte{0xC5});
  {
    Holder holder = hold(tcp(), 0);
    auto lane = open_lane(tcp(), holder);
    for (std::uint32_t region = 0; region < holder.lease.grant.region_count; ++region) {
      EXPECT_TRUE(lane->write(region, 0, canary));
      EXPECT_TRUE(lane->write(region, kMiB, canary));
    }
  }
  ASSERT_TRUE(all_is_free_again());
  Holder next = hold(unix_socket(), 0);
  auto lane = open_lane(unix_socket(), next);
  for (std::uint32_t region = 0; region < next.lease.grant.region_count; ++region) {
    const auto bytes = lane->read(region, 0, 2 * kMiB);
    ASSERT_TRUE(bytes);
    EXPECT_TRUE(is_zero(*bytes)) << region;
  }
}

TEST_F(ProviderServerTest, who_kept_descriptors_shares_nothing_with_the_next_lease) {
  start();
  std::vector<Mapping> kept;
  {
    Holder holder = hold(unix_socket(), 0, true);
    ASSERT_EQ(holder.lease.descriptors.size(), 16);
    for (const UniqueFd& fd : holder.lease.descriptors) {
      Result<Mapping> mapping = Mapping::shared(fd.get(), 2 * kMiB);
      ASSERT_TRUE(mapping);
      EXPECT_TRUE(is_zero(mapping->bytes()));
      std::ranges::fill(mapping->bytes(), std::byte{0xC5});
      kept.push_back(std::move(*mapping));
    }
    const auto seen = open_lane(tcp(), holder)->read(3, 4096, 4096);
    EXPECT_EQ(seen, std::vector<std::byte>(4096, std::byte{0xC5})) << "it is the pool itself";
  }
  ASSERT_TRUE(all_is_free_again());
  for (const Mapping& mapping : kept) EXPECT_TRUE(is_zero(mapping.bytes()));
  Holder next = hold(tcp(), 0);
  auto lane = open_lane(tcp(), next);
  for (std::uint32_t region = 0; region < 16; ++region) {
    EXPECT_TRUE(lane->write(region, 0, pattern(4096, region)));
  }
  for (const Mapping& mapping : kept) {
    EXPECT_TRUE(is_zero(mapping.bytes()));
    std::ranges::fill(mapping.bytes(), std::byte{0xEE});
  }
  for (std::uint32_t region = 0; region < 16; ++region) {
    EXPECT_EQ(lane->read(region, 0, 4096), pattern(4096, region));
    EXPECT_TRUE(is_zero(*lane->read(region, 4096, 2 * kMiB - 4096)));
  }
}

TEST_F(ProviderServerTest, descriptors_are_not_passed_over_tcp) {
  start();
  RawRequester requester(tcp());
  const auto reply = requester.hello(Role::kControl, kFeatureDescriptors);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->features, 0);
  requester.send(encode(2, LeaseRequest{0, kLeaseWantDescriptors, 0}));
  EXPECT_EQ(requester.receive_error(), WireError::kProtocol);
}

// ---- data --------------------------------------------------------------------------------------

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
  std::thread writer([&] {
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

// ---- start and stop ----------------------------------------------------------------------------

TEST_F(ProviderServerTest, stopping_ends_every_connection_and_removes_the_socket_file) {
  start();
  Holder holder = hold(tcp(), 0);
  auto lane = open_lane(unix_socket(), holder);
  RawRequester idle(tcp());
  std::thread stopper([this] { server_->stop(); });
  EXPECT_EQ(holder.control->receive_error(), WireError::kShuttingDown);
  EXPECT_EQ(lane->receive_error(), WireError::kShuttingDown);
  EXPECT_TRUE(idle.is_closed_by_peer());
  holder.control->close();
  stopper.join();
  EXPECT_FALSE(std::filesystem::exists(socket_path()));
}

TEST_F(ProviderServerTest, a_socket_file_of_a_dead_provider_is_replaced_and_of_a_live_one_not) {
  {
    const UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, socket_path().data(), socket_path().size());
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  start();
  EXPECT_TRUE(RawRequester(unix_socket()).hello(Role::kControl));
  const Result<std::unique_ptr<ProviderServer>> second = ProviderServer::start(options_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kExists);
  EXPECT_TRUE(RawRequester(unix_socket()).hello(Role::kControl));
}

TEST_F(ProviderServerTest, a_port_that_is_taken_is_said) {
  start();
  ServerOptions options = options_;
  options.listen = {tcp()};
  const Result<std::unique_ptr<ProviderServer>> second = ProviderServer::start(options);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kExists);
  EXPECT_NE(second.error().message.find("--listen"), std::string::npos);
}

TEST_F(ProviderServerTest, many_requesters_come_work_and_vanish_at_once) {
  options_.grace_ms = 20;
  start();
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 6; ++t) {
    threads.emplace_back([this, t] {
      for (unsigned round = 0; round < 8; ++round) {
        RawRequester control(t % 2 == 0 ? tcp() : unix_socket());
        if (!control.hello(Role::kControl)) continue;
        const auto lease = control.take_lease(2 * kMiB);
        if (!lease) continue;  // being taken back
        RawRequester lane(tcp());
        if (!lane.hello(Role::kData)) continue;
        if (!lane.attach(lease->grant.lease_id, lease->grant.token)) continue;
        const auto before = lane.read(0, 0, 2 << 20);
        EXPECT_TRUE(before && is_zero(*before));
        const auto data = pattern(200'000, t * 100 + round);
        EXPECT_TRUE(lane.write(0, round, data));
        EXPECT_EQ(lane.read(0, round, 200'000), data);
        if (round % 3 == 0) control.send(encode_empty(FrameType::kRelease, 1));
        if (round % 3 == 1) lane.send(bytes_of(make_read(1, 0, 0, 2 << 20)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(all_is_free_again());
}

}  // namespace
}  // namespace rram::test
