// TcpLane against a peer that does not keep the protocol: every Operation ends, in time, the lane
// says what was wrong, and nothing touches a buffer after its Operation has ended.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "rdma/tcp/tcp_lane.h"
#include "rdma/wire/codec.h"
#include "tests/contract/run_task.h"
#include "tests/contract/transfers.h"
#include "tests/loopback.h"

namespace rram::test {

namespace {

using Kind = Operation::Kind;

struct Connected {
  UniqueFd requester;
  UniqueFd peer;
};

Connected connect_over_loopback() {
  const LoopbackSocket listener = bind_on_loopback();
  EXPECT_EQ(::listen(listener.fd.get(), 1), 0);
  const auto* address = reinterpret_cast<const sockaddr*>(&listener.address);
  Connected connected;
  connected.requester.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(connected.requester.get(), address, sizeof listener.address), 0);
  connected.peer.reset(::accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
  const timeval patience{5, 0};
  ::setsockopt(connected.peer.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return connected;
}

// One Operation of a test and its buffer.
struct Job {
  Operation operation;
  OperationGroup group;
  Bytes buffer;
};

class HostilePeer : public testing::Test {
 protected:
  void SetUp() override {
    loop_ = make_loop();
    run_for_ms(*loop_, 1);
    Connected connected = connect_over_loopback();
    peer_ = std::move(connected.peer);
    lane_ = std::make_unique<TcpLane>(*loop_, std::move(connected.requester), "tcp://test");
  }
  void TearDown() override {
    run_task(*loop_, lane_->close());
    for (const auto& job : jobs_) EXPECT_TRUE(has_ended(*job));
    lane_.reset();
  }

  Job& submit(Kind kind, std::size_t length_bytes, std::uint64_t timeout_ms = 10'000) {
    jobs_.push_back(std::make_unique<Job>());
    Job& job = *jobs_.back();
    job.buffer = pattern(length_bytes, static_cast<std::uint32_t>(jobs_.size()));
    fill(job.operation, {kind, &region_, 0, job.buffer, timeout_ms}, loop_->now_ns());
    job.group.add(job.operation);
    lane_->submit(job.operation);
    return job;
  }

  [[nodiscard]] bool all_ended() const { return lane_->stats().in_flight == 0; }
  static bool has_ended(Job& job) { return job.group.operator co_await().await_ready(); }

  // Runs the loop until everything has ended; false if that takes longer than `limit_ms`.
  bool run_until_ended(std::uint64_t limit_ms) {
    const std::uint64_t limit_ns = monotonic_ns() + limit_ms * kNsPerMs;
    while (!all_ended()) {
      if (monotonic_ns() >= limit_ns) return false;
      run_for_ms(*loop_, 2);
    }
    return true;
  }
  bool run_until_broken(std::uint64_t limit_ms) {
    const std::uint64_t limit_ns = monotonic_ns() + limit_ms * kNsPerMs;
    while (!lane_->is_broken()) {
      if (monotonic_ns() >= limit_ns) return false;
      run_for_ms(*loop_, 2);
    }
    return true;
  }

  DataRequest take_request() {
    std::array<std::byte, sizeof(DataRequest)> bytes{};
    EXPECT_EQ(::recv(peer_.get(), bytes.data(), bytes.size(), MSG_WAITALL),
              static_cast<ssize_t>(bytes.size()));
    const Result<DataRequest> request = decode_data_request(bytes);
    EXPECT_TRUE(request.has_value());
    return *request;
  }
  void send(std::span<const std::byte> bytes) {
    ::send(peer_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  void send_header(const FrameHeader& header) { send(bytes_of(header)); }
  void reset_connection() {
    const linger drop{1, 0};
    ::setsockopt(peer_.get(), SOL_SOCKET, SO_LINGER, &drop, sizeof drop);
    peer_.reset();
  }

  void expect_broken(ErrorCode code, const std::string& text) {
    ASSERT_TRUE(lane_->is_broken());
    EXPECT_EQ(lane_->reason().code, code) << lane_->reason().message;
    EXPECT_NE(lane_->reason().message.find(text), std::string::npos) << lane_->reason().message;
    EXPECT_NE(lane_->reason().message.find("tcp://test"), std::string::npos);
  }

  const RemoteRegion region_{0, std::uint64_t{1} << 30};
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<TcpLane> lane_;
  UniqueFd peer_;
  std::vector<std::unique_ptr<Job>> jobs_;
};

// ---- silence -----------------------------------------------------------------------------------

TEST_F(HostilePeer, a_read_that_stalls_ends_at_its_deadline_and_late_bytes_touch_nothing) {
  for (const std::size_t length : {std::size_t{2048}, std::size_t{200'000}}) {
    TearDown();
    SetUp();
    Job& job = submit(Kind::kRead, length, 200);
    run_for_ms(*loop_, 10);
    const DataRequest request = take_request();
    send_header(make_read_reply(request.header.tag, request.length));
    const auto half = pattern(length / 2, 77);
    send(half);
    const std::uint64_t begin_ns = monotonic_ns();
    ASSERT_TRUE(run_until_ended(2'000));
    EXPECT_LT(monotonic_ns() - begin_ns, 2000 * kNsPerMs);
    EXPECT_EQ(job.operation.failure, ErrorCode::kTimedOut);
    const auto mine = pattern(length, 99);
    job.buffer.assign(mine.begin(), mine.end());
    for (int i = 0; i < 5; ++i) {
      send(half);
      run_for_ms(*loop_, 10);
    }
    EXPECT_EQ(job.buffer, mine);
    expect_broken(ErrorCode::kTimedOut, "deadline");
  }
}

TEST_F(HostilePeer, writes_that_nobody_receives_end_at_their_deadline) {
  for (int i = 0; i < 16; ++i) submit(Kind::kWrite, kMaxOperationBytes, 200);
  ASSERT_TRUE(run_until_ended(3'000));
  for (const auto& job : jobs_) EXPECT_EQ(job->operation.failure, ErrorCode::kTimedOut);
  expect_broken(ErrorCode::kTimedOut, "write");
}

TEST_F(HostilePeer, one_overdue_operation_breaks_the_lane_for_the_others) {
  Job& late = submit(Kind::kRead, 64, 100);
  Job& other = submit(Kind::kRead, 64, 60'000);
  ASSERT_TRUE(run_until_ended(2'000));
  EXPECT_EQ(late.operation.failure, ErrorCode::kTimedOut);
  EXPECT_EQ(other.operation.failure, ErrorCode::kDisconnected);
  Job& after = submit(Kind::kRead, 64);
  EXPECT_TRUE(has_ended(after));
  EXPECT_EQ(after.operation.failure, ErrorCode::kDisconnected);
}

TEST_F(HostilePeer, closing_does_not_wait_for_a_peer_that_is_silent) {
  for (int i = 0; i < 8; ++i) submit(i % 2 == 0 ? Kind::kRead : Kind::kWrite, kMaxOperationBytes);
  run_for_ms(*loop_, 20);
  const std::uint64_t begin_ns = monotonic_ns();
  run_task(*loop_, lane_->close());
  EXPECT_LT(monotonic_ns() - begin_ns, 1'000 * kNsPerMs);
  EXPECT_TRUE(all_ended());
}

// ---- the end of the connection -----------------------------------------------------------------

TEST_F(HostilePeer, closing_in_the_middle_of_a_payload_fails_what_is_in_flight) {
  Job& job = submit(Kind::kRead, 100'000);
  Job& second = submit(Kind::kRead, 10);
  run_for_ms(*loop_, 10);
  send_header(make_read_reply(take_request().header.tag, 100'000));
  take_request();
  send(pattern(5'000, 1));
  peer_.reset();
  ASSERT_TRUE(run_until_ended(1'000));
  EXPECT_EQ(job.operation.failure, ErrorCode::kDisconnected);
  EXPECT_EQ(second.operation.failure, ErrorCode::kDisconnected);
  expect_broken(ErrorCode::kDisconnected, "in the middle of a frame");
}

TEST_F(HostilePeer, a_reset_fails_what_is_in_flight) {
  Job& job = submit(Kind::kWrite, 100'000);
  run_for_ms(*loop_, 10);
  reset_connection();
  ASSERT_TRUE(run_until_ended(1'000));
  EXPECT_EQ(job.operation.failure, ErrorCode::kDisconnected);
  EXPECT_TRUE(lane_->is_broken());
}

TEST_F(HostilePeer, an_idle_lane_notices_the_end_and_tells_its_owner_once) {
  int told = 0;
  lane_->set_on_broken([&told](const Error& /*reason*/) { ++told; });
  run_for_ms(*loop_, 20);
  peer_.reset();
  ASSERT_TRUE(run_until_broken(1'000));
  run_for_ms(*loop_, 20);
  EXPECT_EQ(told, 1);
  expect_broken(ErrorCode::kDisconnected, "closed the connection");
}

TEST_F(HostilePeer, a_lane_that_was_used_notices_the_end_when_idle_again) {
  Job& job = submit(Kind::kWrite, 10);
  run_for_ms(*loop_, 10);
  const DataRequest request = take_request();
  send_header(make_write_reply(request.header.tag));
  ASSERT_TRUE(run_until_ended(1'000));
  EXPECT_EQ(job.operation.failure, std::nullopt);
  reset_connection();
  ASSERT_TRUE(run_until_broken(1'000));
}

// ---- replies that are none ---------------------------------------------------------------------

TEST_F(HostilePeer, garbage_in_place_of_a_header_breaks_the_lane) {
  Job& job = submit(Kind::kRead, 4096);
  run_for_ms(*loop_, 10);
  send(pattern(4096, 123));
  ASSERT_TRUE(run_until_ended(1'000));
  EXPECT_EQ(job.operation.failure, ErrorCode::kDisconnected);
  EXPECT_EQ(lane_->reason().code, ErrorCode::kProtocol) << lane_->reason().message;
}

TEST_F(HostilePeer, a_reply_with_another_tag_breaks_the_lane) {
  submit(Kind::kWrite, 10);
  run_for_ms(*loop_, 10);
  send_header(make_write_reply(take_request().header.tag + 1));
  ASSERT_TRUE(run_until_ended(1'000));
  expect_broken(ErrorCode::kProtocol, "tag");
}

TEST_F(HostilePeer, a_reply_of_another_length_breaks_the_lane) {
  submit(Kind::kRead, 1000);
  run_for_ms(*loop_, 10);
  send_header(make_read_reply(take_request().header.tag, 1001));
  ASSERT_TRUE(run_until_ended(1'000));
  expect_broken(ErrorCode::kProtocol, "body_bytes");
}

TEST_F(HostilePeer, a_reply_of_another_type_breaks_the_lane) {
  submit(Kind::kRead, 1000);
  run_for_ms(*loop_, 10);
  send_header(make_write_reply(take_request().header.tag));
  ASSERT_TRUE(run_until_ended(1'000));
  expect_broken(ErrorCode::kProtocol, "WRITE_REPLY");
}

TEST_F(HostilePeer, replies_never_asked_for_break_an_idle_lane) {
  run_for_ms(*loop_, 10);
  send_header(make_write_reply(1));
  ASSERT_TRUE(run_until_broken(1'000));
  expect_broken(ErrorCode::kProtocol, "nothing was asked");
}

TEST_F(HostilePeer, a_second_reply_to_one_request_breaks_the_lane) {
  Job& job = submit(Kind::kWrite, 10);
  run_for_ms(*loop_, 10);
  const FrameHeader reply = make_write_reply(take_request().header.tag);
  send_header(reply);
  send_header(reply);
  ASSERT_TRUE(run_until_ended(1'000));
  EXPECT_EQ(job.operation.failure, std::nullopt);
  ASSERT_TRUE(run_until_broken(1'000));
  EXPECT_EQ(lane_->reason().code, ErrorCode::kProtocol);
}

TEST_F(HostilePeer, half_a_frame_on_an_idle_lane_and_then_the_end) {
  run_for_ms(*loop_, 10);
  send(pattern(7, 1));
  run_for_ms(*loop_, 100);
  peer_.reset();
  ASSERT_TRUE(run_until_broken(1'000));
  expect_broken(ErrorCode::kDisconnected, "in the middle of a frame");
}

TEST_F(HostilePeer, a_reply_before_its_request_has_left_does_not_free_the_buffer) {
  Job& job = submit(Kind::kWrite, kMaxOperationBytes);
  Job& second = submit(Kind::kWrite, kMaxOperationBytes);
  run_for_ms(*loop_, 20);
  const DataRequest request = take_request();
  send_header(make_write_reply(request.header.tag));
  send_header(make_write_reply(request.header.tag + 1));
  run_for_ms(*loop_, 100);
  // The kernel may still read the second buffer: it waits in a socket that is full.
  EXPECT_FALSE(has_ended(second));
  Bytes sink(std::size_t{1} << 20);
  std::size_t left = 2 * kMaxOperationBytes + sizeof(DataRequest);
  while (left > 0) {
    const ssize_t got = ::recv(peer_.get(), sink.data(), std::min(sink.size(), left), MSG_DONTWAIT);
    if (got > 0) left -= static_cast<std::size_t>(got);
    run_for_ms(*loop_, 1);
  }
  ASSERT_TRUE(run_until_ended(1'000));
  EXPECT_EQ(job.operation.failure, std::nullopt);
  EXPECT_EQ(second.operation.failure, std::nullopt);
}

// ---- ERROR -------------------------------------------------------------------------------------

TEST_F(HostilePeer, an_error_frame_tells_why) {
  Job& job = submit(Kind::kRead, 4096);
  run_for_ms(*loop_, 10);
  send(encode_error(WireError::kLeaseOver, "the lease ended"));
  peer_.reset();
  ASSERT_TRUE(run_until_ended(1'000));
  EXPECT_EQ(job.operation.failure, ErrorCode::kDisconnected);
  expect_broken(ErrorCode::kLost, "the lease ended");
}

TEST_F(HostilePeer, an_error_frame_on_an_idle_lane_tells_why) {
  run_for_ms(*loop_, 10);
  send(encode_error(WireError::kShuttingDown, "maintenance"));
  ASSERT_TRUE(run_until_broken(1'000));
  expect_broken(ErrorCode::kDisconnected, "maintenance");
}

TEST_F(HostilePeer, an_error_frame_over_many_expected_replies_is_put_together) {
  // Its text lies over the headers and buffers of several Operations that were read ahead.
  const std::string text(500, 'x');
  for (int i = 0; i < 20; ++i) submit(i % 3 == 0 ? Kind::kRead : Kind::kWrite, 9);
  run_for_ms(*loop_, 10);
  send(encode_error(WireError::kInternal, text));
  ASSERT_TRUE(run_until_ended(1'000));
  expect_broken(ErrorCode::kIo, text);
}

TEST_F(HostilePeer, an_error_frame_in_small_pieces_is_put_together) {
  submit(Kind::kRead, 100'000);
  run_for_ms(*loop_, 10);
  const FrameBytes frame = encode_error(WireError::kOutOfRange, "the range is wrong");
  for (const std::byte& byte : frame) {
    send(std::span(&byte, 1));
    run_for_ms(*loop_, 1);
  }
  peer_.reset();
  ASSERT_TRUE(run_until_ended(1'000));
  expect_broken(ErrorCode::kProtocol, "the range is wrong");
}

TEST_F(HostilePeer, an_error_frame_after_good_replies_keeps_these) {
  Job& good = submit(Kind::kRead, 100);
  Job& bad = submit(Kind::kRead, 100);
  run_for_ms(*loop_, 10);
  const DataRequest request = take_request();
  const auto payload = pattern(100, 55);
  FrameBytes bytes;
  const FrameHeader reply = make_read_reply(request.header.tag, 100);
  std::ranges::copy(bytes_of(reply), std::back_inserter(bytes));
  std::ranges::copy(payload, std::back_inserter(bytes));
  std::ranges::copy(encode_error(WireError::kInternal, "no more"), std::back_inserter(bytes));
  send(bytes);
  ASSERT_TRUE(run_until_ended(1'000));
  EXPECT_EQ(good.operation.failure, std::nullopt);
  EXPECT_EQ(good.buffer, payload);
  EXPECT_EQ(bad.operation.failure, ErrorCode::kDisconnected);
}

// ---- slow but right ----------------------------------------------------------------------------

TEST_F(HostilePeer, replies_in_pieces_of_any_size_are_put_together) {
  std::vector<Job*> jobs;
  for (std::size_t i = 0; i < 6; ++i) {
    jobs.push_back(&submit(i % 3 == 2 ? Kind::kWrite : Kind::kRead, 10 + i * 7));
  }
  run_for_ms(*loop_, 10);
  FrameBytes bytes;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const DataRequest request = take_request();
    if (request.header.type == FrameType::kWrite) {
      Bytes payload(request.length);
      ASSERT_EQ(::recv(peer_.get(), payload.data(), payload.size(), MSG_WAITALL),
                static_cast<ssize_t>(payload.size()));
      EXPECT_EQ(payload, jobs[i]->buffer);
      const FrameHeader reply = make_write_reply(request.header.tag);
      std::ranges::copy(bytes_of(reply), std::back_inserter(bytes));
    } else {
      const FrameHeader reply = make_read_reply(request.header.tag, request.length);
      std::ranges::copy(bytes_of(reply), std::back_inserter(bytes));
      std::ranges::copy(pattern(request.length, 1000 + static_cast<std::uint32_t>(i)),
                        std::back_inserter(bytes));
    }
  }
  std::size_t piece = 1;
  for (std::size_t at = 0; at < bytes.size(); at += piece, piece = piece % 13 + 3) {
    send(std::span(bytes).subspan(at, std::min(piece, bytes.size() - at)));
    run_for_ms(*loop_, 1);
  }
  ASSERT_TRUE(run_until_ended(1'000));
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    EXPECT_EQ(jobs[i]->operation.failure, std::nullopt);
    if (jobs[i]->operation.kind == Kind::kRead) {
      EXPECT_EQ(jobs[i]->buffer,
                pattern(jobs[i]->buffer.size(), 1000 + static_cast<std::uint32_t>(i)));
    }
  }
  EXPECT_FALSE(lane_->is_broken());
}

}  // namespace

}  // namespace rram::test
