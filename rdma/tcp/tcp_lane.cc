#include "rdma/tcp/tcp_lane.h"

#include <fmt/format.h>
#include <liburing.h>
#include <poll.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <span>
#include <utility>

#include "base/backoff.h"
#include "rdma/tcp/scatter.h"

namespace rram {

namespace {

// How often deadlines are looked at while Operations are in flight.
constexpr std::uint64_t kTickNs = kDeadlineCheckMs * 1'000'000 / 2;

constexpr std::uint64_t kNsPerMs = 1'000'000;
// Between two attempts to take the next connection.
constexpr std::uint64_t kFirstPauseMs = 5;
constexpr std::uint64_t kLongestPauseMs = 200;

// What is still queued in this host for a broken connection must not reach the provider later.
void drop_unsent_on_close(int socket) {
  const linger drop{1, 0};
  ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &drop, sizeof drop);
}

}  // namespace

TcpLane::TcpLane(EventLoop& loop, UniqueFd socket, std::string peer, LaneIdentity identity,
                 Sealing sealing)
    : Lane(loop, std::move(identity)),
      socket_(std::move(socket)),
      peer_(std::move(peer)),
      sealing_(std::move(sealing)) {
  start_watch();
}

TcpLane::~TcpLane() {
  assert(is_quiet() && stream_.is_empty() && waiting_.empty());
  if (tick_) loop().cancel_timer(*tick_);
  loop().forget(*this);
}

void TcpLane::do_submit(Operation& operation) {
  if (!tick_) tick_ = loop().call_at(loop().now_ns() + kTickNs, [this] { on_tick(); });
  if (renewal_ != Renewal::kNone) return waiting_.push_back(operation);
  stream_.push(operation);
  loop().flush_later(*this);
}

// The end of a turn: everything that was submitted or became free during it goes to the ring.
void TcpLane::flush() {
  if (is_leaving()) return;
  if (!send_.is_under_way() && stream_.has_unsent()) {
    if (Status started = start_send(); !started) return break_lane(std::move(started.error()));
  }
  if (!receive_.is_under_way() && (stream_.awaits_reply() || has_stray_)) start_receive();
}

Status TcpLane::start_send() {
  if (sealing_.records) {
    if (Status sealed = seal_next(); !sealed) return sealed;
  } else {
    send_message_.msg_iov = send_parts_.data();
    send_message_.msg_iovlen = stream_.plan_send(send_parts_);
  }
  send_.submit([this](io_uring_sqe* entry) {
    io_uring_prep_sendmsg(entry, socket_.get(), &send_message_, MSG_WAITALL | MSG_NOSIGNAL);
  });
  return {};
}

// What is sealed leaves first; then as much of the stream as one send takes is sealed.
Status TcpLane::seal_next() {
  RecordStream& records = *sealing_.records;
  if (!records.has_unsent()) {
    const std::size_t parts = stream_.plan_send(send_parts_);
    const Result<std::size_t> sealed = records.seal(std::span(send_parts_).first(parts));
    if (!sealed) {
      return fail(sealed.error().code, fmt::format("{}: {}", peer_, sealed.error().message));
    }
    stream_bytes_in_records_ = *sealed;
  }
  const std::span<const std::byte> unsent = records.unsent();
  sealed_part_ = {const_cast<std::byte*>(unsent.data()), unsent.size()};
  send_message_.msg_iov = &sealed_part_;
  send_message_.msg_iovlen = 1;
  return {};
}

void TcpLane::on_send_end(std::int32_t result, std::uint32_t /*flags*/) {
  if (is_leaving()) return on_end_while_leaving();
  if (result < 0) {
    return break_lane(fail_errno(-result, fmt::format("{}: cannot send", peer_)).error());
  }
  auto sent_bytes = static_cast<std::size_t>(result);
  if (sealing_.records) {
    sealing_.records->on_sent(sent_bytes);
    sent_bytes = sealing_.records->has_unsent() ? 0 : std::exchange(stream_bytes_in_records_, 0);
  }
  stream_.on_sent(sent_bytes);
  deliver_finished();
  if (stream_.has_unsent()) loop().flush_later(*this);
}

void TcpLane::start_receive() {
  if (sealing_.records) {
    receive_sealed();
  } else {
    receive_in_place();
  }
}

void TcpLane::receive_sealed() {
  // What came with the end of the handshake: nobody has asked for anything yet.
  if (Status taken = take_opened(); !taken) {
    return break_lane(
        Error{taken.error().code, fmt::format("{}: {}", peer_, taken.error().message)});
  }
  const std::span<std::byte> room = sealing_.records->room();
  sealed_room_ = {room.data(), room.size()};
  receive_message_ = {};
  receive_message_.msg_iov = &sealed_room_;
  receive_message_.msg_iovlen = 1;
  has_stray_ = false;
  post_receive(0);
}

void TcpLane::receive_in_place() {
  const DataStream::ReceivePlan plan = stream_.plan_receive(receive_parts_);
  receive_message_ = {};
  receive_message_.msg_iov = receive_parts_.data();
  receive_message_.msg_iovlen = plan.parts;
  int flags = plan.wait_for_all ? MSG_WAITALL : 0;
  // The watch saw something. If it was nothing, this must not stay posted: its buffer is not where
  // the next reply belongs.
  if (!stream_.awaits_reply() && stream_.is_between_frames()) flags |= MSG_DONTWAIT;
  has_stray_ = false;
  post_receive(flags);
}

void TcpLane::post_receive(int flags) {
  receive_.submit([&](io_uring_sqe* entry) {
    io_uring_prep_recvmsg(entry, socket_.get(), &receive_message_, static_cast<unsigned>(flags));
    // A reply cannot be there yet: spare the kernel the look.
    if (!receive_has_more_ && (flags & MSG_DONTWAIT) == 0) {
      entry->ioprio |= IORING_RECVSEND_POLL_FIRST;
    }
  });
}

void TcpLane::on_receive_end(std::int32_t result, std::uint32_t flags) {
  if (is_leaving()) return on_end_while_leaving();
  receive_has_more_ = (flags & IORING_CQE_F_SOCK_NONEMPTY) != 0;
  if (result == -EAGAIN || result == -EINTR) {
    if (stream_.awaits_reply()) loop().flush_later(*this);
    return;
  }
  if (result == 0) return break_lane(Error{ErrorCode::kDisconnected, end_of_stream_text()});
  if (result < 0) {
    return break_lane(fail_errno(-result, fmt::format("{}: connection lost", peer_)).error());
  }
  const Status status = take_received(static_cast<std::size_t>(result));
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

Status TcpLane::take_received(std::size_t received_bytes) {
  if (!sealing_.records) return stream_.on_received(received_bytes);
  sealing_.records->on_received(received_bytes);
  return take_opened();
}

// What the records that are there carry, to where it belongs.
Status TcpLane::take_opened() {
  for (;;) {
    const Result<std::span<const std::byte>> opened = sealing_.records->opened();
    if (!opened) return std::unexpected(opened.error());
    if (opened->empty()) return {};
    const DataStream::ReceivePlan plan = stream_.plan_receive(receive_parts_);
    const std::size_t taken_bytes = scatter(*opened, std::span(receive_parts_).first(plan.parts));
    sealing_.records->consume(taken_bytes);
    if (Status status = stream_.on_received(taken_bytes); !status) return status;
  }
}

void TcpLane::start_watch() {
  watch_.submit([this](io_uring_sqe* entry) {
    io_uring_prep_poll_add(entry, socket_.get(), POLLIN | POLLRDHUP);
  });
}

void TcpLane::on_watch_end(std::int32_t /*result*/, std::uint32_t /*flags*/) {
  if (is_leaving()) return on_end_while_leaving();
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
  if (sealing_.records) begin_renewal_if_due();
}

void TcpLane::on_tick() {
  tick_.reset();
  if (is_broken()) return;
  if (stream_.is_empty() && waiting_.empty()) {
    if (!watch_.is_under_way() && !is_leaving()) start_watch();
    return;
  }
  if (const Operation* overdue = find_overdue(loop().now_ns())) {
    const bool is_read = overdue->kind == Operation::Kind::kRead;
    return break_lane(Error{ErrorCode::kTimedOut,
                            fmt::format("{}: no answer to a {} of {} bytes within its deadline",
                                        peer_, is_read ? "read" : "write", overdue->local.size())});
  }
  tick_ = loop().call_at(loop().now_ns() + kTickNs, [this] { on_tick(); });
}

void TcpLane::break_lane(Error reason) {
  if (is_broken()) return;
  // Between two connections everything that was sent has been answered.
  mark_broken(std::move(reason), renewal_ == Renewal::kLeaving ? Strays::kNone : Strays::kPossible);
  drop_unsent_on_close(socket_.get());
  end_what_is_under_way();
  on_end_while_leaving();
}

void TcpLane::end_what_is_under_way() {
  ::shutdown(socket_.get(), SHUT_RDWR);
  send_.cancel();
  receive_.cancel();
  watch_.cancel();
}

bool TcpLane::is_quiet() const {
  return !send_.is_under_way() && !receive_.is_under_way() && !watch_.is_under_way();
}

void TcpLane::on_end_while_leaving() {
  if (!is_quiet()) return;
  if (is_broken()) fail_all();
  if (quiet_waiter_) std::exchange(quiet_waiter_, nullptr).resume();
}

void TcpLane::fail_all() {
  const std::uint64_t now_ns = loop().now_ns();
  const auto fail_one = [&](Operation& operation) {
    complete(operation,
             operation.deadline_ns <= now_ns ? ErrorCode::kTimedOut : ErrorCode::kDisconnected);
  };
  while (Operation* operation = stream_.take_any()) fail_one(*operation);
  while (!waiting_.empty()) {
    Operation& operation = waiting_.front();
    waiting_.pop_front();
    fail_one(operation);
  }
}

// ---- the next connection -----------------------------------------------------------------------

void TcpLane::begin_renewal_if_due() {
  if (is_broken() || renewal_ == Renewal::kLeaving) return;
  if (sealing_.records->records() >= sealing_.records_before_renewal) renewal_ = Renewal::kDraining;
  if (renewal_ != Renewal::kDraining || !stream_.is_empty() || renewing_.is_closed()) return;
  // The provider is saying something that nobody asked for: the lane is about to break.
  if (!stream_.is_between_frames()) return;
  renewal_ = Renewal::kLeaving;
  spawn(renewing_, renew());
}

Task<> TcpLane::renew() {
  end_what_is_under_way();
  co_await Quiet{*this};
  // Nothing of this turn still works on the old connection.
  co_await loop().resume_here();
  if (is_broken()) co_return;
  socket_.reset();
  // The connection that was left was good: what an established one would have outlived must not
  // fail anybody.
  const std::uint64_t give_up_ns = loop().now_ns() + sealing_.patience_ms * kNsPerMs;
  Backoff backoff(kFirstPauseMs, kLongestPauseMs);
  for (;;) {
    Result<SealedConnection> fresh = co_await sealing_.reopen();
    if (is_broken()) co_return;
    if (fresh) {
      go_on_with(std::move(*fresh));
      co_return;
    }
    if (fresh.error().code == ErrorCode::kLost || loop().now_ns() >= give_up_ns) {
      break_lane(std::move(fresh.error()));
      co_return;
    }
    co_await backoff.pause(loop(), renewing_);
    if (is_broken()) co_return;
  }
}

void TcpLane::go_on_with(SealedConnection fresh) {
  socket_ = std::move(fresh.socket);
  sealing_.records = std::move(fresh.records);
  renewal_ = Renewal::kNone;
  receive_has_more_ = false;
  has_stray_ = false;
  start_watch();
  while (!waiting_.empty()) {
    Operation& operation = waiting_.front();
    waiting_.pop_front();
    stream_.push(operation);
  }
  loop().flush_later(*this);
}

const Operation* TcpLane::find_overdue(std::uint64_t now_ns) const {
  const auto found = std::ranges::find_if(
      waiting_, [now_ns](const Operation& operation) { return operation.deadline_ns <= now_ns; });
  return found == waiting_.end() ? stream_.find_overdue(now_ns) : &*found;
}

// ---- the end -----------------------------------------------------------------------------------

std::string TcpLane::end_of_stream_text() const {
  return fmt::format("{}: the provider closed the connection{}", peer_,
                     stream_.is_between_frames() ? "" : " in the middle of a frame");
}

Task<> TcpLane::close() {
  set_on_broken(nullptr);
  break_lane(Error{ErrorCode::kCancelled, "the lane was closed"});
  co_await renewing_.close();
  co_await Quiet{*this};
  // Whoever called into this lane in this turn must have left it before its owner destroys it.
  co_await loop().resume_here();
}

}  // namespace rram
