#include "rdma/tcp/tcp_lane.h"

#include <fmt/format.h>
#include <liburing.h>
#include <poll.h>

#include <cassert>
#include <cerrno>
#include <span>
#include <utility>

namespace rram {

namespace {

// How often deadlines are looked at while Operations are in flight.
constexpr std::uint64_t kTickNs = kDeadlineCheckMs * 1'000'000 / 2;

// What is still queued in this host for a broken connection must not reach the provider later.
void drop_unsent_on_close(int socket) {
  const linger drop{1, 0};
  ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &drop, sizeof drop);
}

}  // namespace

TcpLane::TcpLane(EventLoop& loop, UniqueFd socket, std::string peer, LaneIdentity identity)
    : Lane(loop, std::move(identity)), socket_(std::move(socket)), peer_(std::move(peer)) {
  start_watch();
}

TcpLane::~TcpLane() {
  assert(is_quiet() && stream_.is_empty());
  if (tick_) loop().cancel_timer(*tick_);
  loop().forget(*this);
}

void TcpLane::do_submit(Operation& operation) {
  stream_.push(operation);
  if (!tick_) tick_ = loop().call_at(loop().now_ns() + kTickNs, [this] { on_tick(); });
  loop().flush_later(*this);
}

// The end of a turn: everything that was submitted or became free during it goes to the ring.
void TcpLane::flush() {
  if (is_broken()) return;
  if (!send_.is_under_way() && stream_.has_unsent()) start_send();
  if (!receive_.is_under_way() && (stream_.awaits_reply() || has_stray_)) start_receive();
}

void TcpLane::start_send() {
  send_message_.msg_iov = send_parts_.data();
  send_message_.msg_iovlen = stream_.plan_send(send_parts_);
  send_.submit([this](io_uring_sqe* entry) {
    io_uring_prep_sendmsg(entry, socket_.get(), &send_message_, MSG_WAITALL | MSG_NOSIGNAL);
  });
}

void TcpLane::on_send_end(std::int32_t result, std::uint32_t /*flags*/) {
  if (is_broken()) return fail_all_when_quiet();
  if (result < 0) {
    return break_lane(fail_errno(-result, fmt::format("{}: cannot send", peer_)).error());
  }
  stream_.on_sent(static_cast<std::size_t>(result));
  deliver_finished();
  if (stream_.has_unsent()) loop().flush_later(*this);
}

void TcpLane::start_receive() {
  const DataStream::ReceivePlan plan = stream_.plan_receive(receive_parts_);
  receive_message_ = {};
  receive_message_.msg_iov = receive_parts_.data();
  receive_message_.msg_iovlen = plan.parts;
  int flags = plan.wait_for_all ? MSG_WAITALL : 0;
  // The watch saw something. If it was nothing, this must not stay posted: its buffer is not where
  // the next reply belongs.
  if (!stream_.awaits_reply() && stream_.is_between_frames()) flags |= MSG_DONTWAIT;
  has_stray_ = false;
  receive_.submit([&](io_uring_sqe* entry) {
    io_uring_prep_recvmsg(entry, socket_.get(), &receive_message_, static_cast<unsigned>(flags));
    // A reply cannot be there yet: spare the kernel the look.
    if (!receive_has_more_ && (flags & MSG_DONTWAIT) == 0) {
      entry->ioprio |= IORING_RECVSEND_POLL_FIRST;
    }
  });
}

void TcpLane::on_receive_end(std::int32_t result, std::uint32_t flags) {
  if (is_broken()) return fail_all_when_quiet();
  receive_has_more_ = (flags & IORING_CQE_F_SOCK_NONEMPTY) != 0;
  if (result == -EAGAIN || result == -EINTR) {
    if (stream_.awaits_reply()) loop().flush_later(*this);
    return;
  }
  if (result == 0) return break_lane(Error{ErrorCode::kDisconnected, end_of_stream_text()});
  if (result < 0) {
    return break_lane(fail_errno(-result, fmt::format("{}: connection lost", peer_)).error());
  }
  const Status status = stream_.on_received(static_cast<std::size_t>(result));
  // What is whole was answered rightly, even if garbage follows it.
  deliver_finished();
  if (is_broken()) return;
  if (!status) {
    return break_lane(
        Error{status.error().code, fmt::format("{}: {}", peer_, status.error().message)});
  }
  if (!stream_.is_between_frames()) has_stray_ = !stream_.awaits_reply();
  if (stream_.awaits_reply() || has_stray_) loop().flush_later(*this);
}

void TcpLane::start_watch() {
  watch_.submit([this](io_uring_sqe* entry) {
    io_uring_prep_poll_add(entry, socket_.get(), POLLIN | POLLRDHUP);
  });
}

void TcpLane::on_watch_end(std::int32_t /*result*/, std::uint32_t /*flags*/) {
  if (is_broken()) return fail_all_when_quiet();
  // With something in flight this was its reply; the tick that finds the lane idle watches again.
  if (!stream_.is_empty()) return;
  has_stray_ = true;
  loop().flush_later(*this);
  if (!tick_) tick_ = loop().call_at(loop().now_ns() + kTickNs, [this] { on_tick(); });
}

void TcpLane::deliver_finished() {
  // A completed Operation resumes its owner, who may submit more or close this lane; it cannot be
  // gone, because close() resumes only in a later turn.
  while (Operation* operation = stream_.take_finished()) complete(*operation, std::nullopt);
}

void TcpLane::on_tick() {
  tick_.reset();
  if (is_broken()) return;
  if (stream_.is_empty()) {
    if (!watch_.is_under_way()) start_watch();
    return;
  }
  if (const Operation* overdue = stream_.find_overdue(loop().now_ns())) {
    const bool is_read = overdue->kind == Operation::Kind::kRead;
    return break_lane(Error{ErrorCode::kTimedOut,
                            fmt::format("{}: no answer to a {} of {} bytes within its deadline",
                                        peer_, is_read ? "read" : "write", overdue->local.size())});
  }
  tick_ = loop().call_at(loop().now_ns() + kTickNs, [this] { on_tick(); });
}

void TcpLane::break_lane(Error reason) {
  if (is_broken()) return;
  mark_broken(std::move(reason));
  drop_unsent_on_close(socket_.get());
  ::shutdown(socket_.get(), SHUT_RDWR);
  send_.cancel();
  receive_.cancel();
  watch_.cancel();
  fail_all_when_quiet();
}

bool TcpLane::is_quiet() const {
  return !send_.is_under_way() && !receive_.is_under_way() && !watch_.is_under_way();
}

void TcpLane::fail_all_when_quiet() {
  if (!is_quiet()) return;
  const std::uint64_t now_ns = loop().now_ns();
  while (Operation* operation = stream_.take_any()) {
    complete(*operation,
             operation->deadline_ns <= now_ns ? ErrorCode::kTimedOut : ErrorCode::kDisconnected);
  }
  if (closer_) std::exchange(closer_, nullptr).resume();
}

std::string TcpLane::end_of_stream_text() const {
  return fmt::format("{}: the provider closed the connection{}", peer_,
                     stream_.is_between_frames() ? "" : " in the middle of a frame");
}

Task<> TcpLane::close() {
  set_on_broken(nullptr);
  break_lane(Error{ErrorCode::kCancelled, "the lane was closed"});
  struct Quiet {
    TcpLane& lane;
    [[nodiscard]] bool await_ready() const { return lane.is_quiet(); }
    void await_suspend(std::coroutine_handle<> awaiter) const { lane.closer_ = awaiter; }
    void await_resume() const {}
  };
  co_await Quiet{*this};
  // Whoever called into this lane in this turn must have left it before its owner destroys it.
  co_await loop().resume_here();
}

}  // namespace rram
