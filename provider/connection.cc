#include "provider/connection.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <limits>
#include <utility>
#include <variant>

#include "base/io.h"
#include "rdma/shm/descriptor_passing.h"

namespace rram {

namespace {

constexpr std::size_t kReadBytes = 4096;
constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kNsPerMs = 1'000'000;

ProviderSessionOptions session_options(const ProviderContext& context, const Peer& peer) {
  ProviderSessionOptions options;
  options.provider_name = context.name;
  options.incarnation = context.incarnation;
  options.key = context.key;
  options.pool_bytes = context.pool->size_bytes();
  options.free_bytes = context.leases->totals().free_bytes;
  options.segment_bytes = context.pool->segment_bytes();
  options.can_pass_descriptors = peer.is_unix;
  options.handshake_limit_ms = context.times.handshake_limit_ms;
  options.idle_limit_ms = context.times.idle_limit_ms;
  return options;
}

void count(std::atomic<std::uint64_t>& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

Connection::Connection(EventLoop& loop, const ProviderContext& context, WorkerCounters& counters,
                       ConnectionId id, UniqueFd socket_fd, Peer peer, CountedLane lane)
    : loop_(loop),
      context_(context),
      counters_(counters),
      id_(id),
      socket_fd_(std::move(socket_fd)),
      peer_(std::move(peer)),
      counted_lane_(std::move(lane)),
      session_(session_options(context, peer_), loop.now_ms()) {}

Connection::~Connection() {
  assert(!session_timer_ && !linger_timer_ && responder_ == nullptr && !is_sending_);
}

Task<> Connection::serve() {
  if (peer_.refusal) {
    carry_out(session_.end(peer_.refusal_code, peer_.refusal->message));
  }
  watch_deadline();
  co_await converse();
  if (session_.data_allowed()) co_await serve_data();
  co_await say_goodbye();
  leave_lease();
}

// ---- the session -------------------------------------------------------------------------------

// Frames until the session is over or the connection may carry data.
Task<> Connection::converse() {
  std::array<std::byte, kReadBytes> buffer;
  while (session_.state() != ProviderSession::State::kClosed) {
    // A peer that asks without reading the answers waits.
    co_await AllSent{*this};
    if (session_.state() == ProviderSession::State::kClosed || session_.data_allowed()) break;
    const std::size_t wanted_bytes = std::min(buffer.size(), reader_.missing_bytes());
    reception_.target = std::span(buffer).first(wanted_bytes);
    const int received = co_await reception_;
    if (received == -ECANCELED) continue;
    if (received <= 0) {
      is_peer_gone_ = true;
      if (received == -ETIMEDOUT) departure_ = Departure::kSilent;
      carry_out(session_.on_closed());
      break;
    }
    reader_.push(std::span(buffer).first(static_cast<std::size_t>(received)));
    auto frame = reader_.next(session_.accepted(), session_.state_name());
    if (!frame) {
      carry_out(session_.on_malformed(frame.error()));
    } else if (*frame) {
      carry_out(session_.on_frame((*frame)->header, (*frame)->body, 0, loop_.now_ms()));
    }
    watch_deadline();
  }
}

void Connection::Reception::await_suspend(std::coroutine_handle<> awaiter) {
  awaiter_ = awaiter;
  connection_.loop_.submit_with(this, [this](io_uring_sqe* entry) {
    io_uring_prep_recv(entry, connection_.socket_fd_.get(), target.data(), target.size(), 0);
  });
}

void Connection::Reception::on_completion(std::int32_t result, std::uint32_t /*flags*/) {
  result_ = result;
  std::exchange(awaiter_, nullptr).resume();
}

void Connection::Reception::call_off() {
  if (awaiter_) connection_.loop_.cancel(*this);
}

std::string Connection::requester_text() const {
  return fmt::format("{} ({})", session_.requester_name(), peer_.text);
}

void Connection::carry_out(ProviderActions actions) {
  for (ProviderAction& action : actions) {
    std::visit([this](auto& one) { act(std::move(one)); }, action);
  }
}

void Connection::act(SendFrame&& action) { send({std::move(action.bytes), {}}); }

void Connection::act(SendDescriptors&& action) {
  std::vector<int> descriptors;
  descriptors.reserve(action.count);
  for (std::uint32_t i = 0; i < action.count; ++i) {
    descriptors.push_back(context_.pool->segment(segments_.at(action.first_region + i)).fd());
  }
  send({std::move(action.bytes), std::move(descriptors)});
}

void Connection::act(const WantLease& action) {
  counted_lane_.reset();
  LeaseWish wish;
  wish.control = id_;
  wish.requester = requester_text();
  wish.wanted_bytes = action.wanted_bytes;
  wish.pass_descriptors = action.descriptors;
  LeaseKeeper::Answer answer = context_.leases->grant(std::move(wish));
  if (const auto* wait = std::get_if<LeaseMustWait>(&answer)) {
    return carry_out(session_.wait(wait->reclaiming_bytes, wait->retry_ms, loop_.now_ms()));
  }
  if (const auto* refusal = std::get_if<Error>(&answer)) {
    return refuse(*refusal, WireError::kNoSpace);
  }
  auto& held = std::get<HeldLeaseView>(answer);
  lease_id_ = held.terms.lease_id;
  segments_ = std::move(held.segments);
  const std::vector<RegionEntry> regions(segments_.size(),
                                         RegionEntry{0, held.terms.region_bytes, 0});
  carry_out(session_.grant(held.terms, regions, loop_.now_ms()));
}

void Connection::act(const WantAttach& action) {
  Result<HeldLeaseView> held =
      context_.leases->attach(action.role, action.lease_id, action.token, id_, requester_text());
  if (!held) return refuse(held.error(), WireError::kNoLease);
  lease_id_ = action.lease_id;
  segments_ = std::move(held->segments);
  if (action.role == Role::kControl) counted_lane_.reset();
  carry_out(session_.attached(held->terms, loop_.now_ms()));
}

void Connection::refuse(const Error& error, WireError otherwise) {
  const WireError code = error.code == ErrorCode::kUnavailable ? WireError::kLimit : otherwise;
  carry_out(session_.end(code, error.message));
}

void Connection::act(const WantStats& action) {
  carry_out(session_.stats(action.tag, context_.stats()));
}

void Connection::act(const WantRelease& /*action*/) {
  // False: another connection has replaced this one, and the order to end is under way.
  context_.leases->release(*lease_id_, id_);
}

void Connection::act(const CloseConnection& action) {
  begin_linger();
  if (action.orderly) return;
  const ErrorCode code = action.reason.code;
  if (code == ErrorCode::kTimedOut) departure_ = Departure::kSilent;
  if (code == ErrorCode::kProtocol) count(counters_.protocol_errors);
  if (code == ErrorCode::kRefused) count(counters_.rejected_connections);
  // A lane that closes is nothing new; a control connection that does puts its lease at risk.
  const bool holds_lease = lease_id_ && session_.role() == Role::kControl;
  if (holds_lease || code != ErrorCode::kDisconnected) {
    context_.log->info("{}: {}", peer_.text, action.reason.message);
  }
}

void Connection::obey(const ConnectionOrder& order) {
  if (order.kind == ConnectionOrder::Kind::kReleased) {
    if (session_.state() == ProviderSession::State::kReleasing) carry_out(session_.released());
    return;
  }
  if (responder_ != nullptr) return responder_->stop(order.code, order.text);
  carry_out(session_.end(order.code, order.text));
}

// ---- data --------------------------------------------------------------------------------------

Task<> Connection::serve_data() {
  std::vector<std::span<std::byte>> regions;
  regions.reserve(segments_.size());
  for (const std::uint32_t segment : segments_) {
    regions.push_back(context_.pool->segment(segment).bytes());
  }
  TcpResponder responder(loop_, socket_fd_.get(), std::move(regions), counters_.data);
  responder_ = &responder;
  const Status served = co_await responder.serve();
  responder_ = nullptr;
  // The responder has told the peer what it had to be told; here only the books are closed.
  if (served) {
    is_peer_gone_ = true;
  } else {
    const ErrorCode code = served.error().code;
    const bool was_told = code == ErrorCode::kProtocol || code == ErrorCode::kInvalidArgument;
    if (was_told) count(counters_.protocol_errors);
    is_peer_gone_ = !was_told;
    context_.log->info("lane of {}: {}", requester_text(), served.error().message);
  }
  carry_out(session_.on_closed());
}

// ---- sending and ending ------------------------------------------------------------------------

void Connection::send(Outgoing outgoing) {
  if (is_peer_gone_) return;
  outgoing_.push_back(std::move(outgoing));
  if (is_sending_) return;
  is_sending_ = true;
  spawn(sends_, send_outgoing());
}

Task<> Connection::send_outgoing() {
  while (!outgoing_.empty()) {
    Outgoing next = std::move(outgoing_.front());
    outgoing_.pop_front();
    bool is_sent = false;
    if (next.descriptors.empty()) {
      const int sent = co_await send_all(loop_, socket_fd_.get(), next.bytes);
      is_sent = sent == static_cast<int>(next.bytes.size());
    } else {
      const Status sent = co_await send_with_descriptors(
          loop_, socket_fd_.get(), std::move(next.bytes), std::move(next.descriptors));
      is_sent = sent.has_value();
    }
    if (is_sent) continue;
    is_peer_gone_ = true;
    outgoing_.clear();
    ::shutdown(socket_fd_.get(), SHUT_RDWR);
  }
  is_sending_ = false;
  if (sent_waiter_) std::exchange(sent_waiter_, nullptr).resume();
}

// The session is over. The peer gets linger_ms to take what is still to be sent; then the
// connection is cut, whatever the peer does.
void Connection::begin_linger() {
  if (session_timer_) loop_.cancel_timer(*std::exchange(session_timer_, std::nullopt));
  reception_.call_off();
  if (is_peer_gone_) {
    ::shutdown(socket_fd_.get(), SHUT_RDWR);
    return;
  }
  linger_timer_ = loop_.call_at(loop_.now_ns() + context_.times.linger_ms * kNsPerMs, [this] {
    linger_timer_.reset();
    is_peer_gone_ = true;
    ::shutdown(socket_fd_.get(), SHUT_RDWR);
  });
}

// Reads on to the peer's end: closing with unread input would throw away what the peer has not
// read yet.
Task<> Connection::say_goodbye() {
  co_await sends_.close();
  ::shutdown(socket_fd_.get(), SHUT_WR);
  std::array<std::byte, kReadBytes> ignored;
  int received = 1;
  while (!is_peer_gone_ && received > 0) {
    received = co_await recv_some(loop_, socket_fd_.get(), ignored);
  }
  if (linger_timer_) loop_.cancel_timer(*std::exchange(linger_timer_, std::nullopt));
}

void Connection::leave_lease() {
  if (!lease_id_) return;
  context_.leases->detach(*lease_id_, id_, departure_);
  lease_id_.reset();
}

void Connection::watch_deadline() {
  const std::uint64_t deadline_ms = session_.next_deadline_ms();
  if (deadline_ms == kNever) {
    if (session_timer_) loop_.cancel_timer(*std::exchange(session_timer_, std::nullopt));
    return;
  }
  const std::uint64_t due_ns = deadline_ms * kNsPerMs;
  if (session_timer_ && session_timer_->first <= due_ns) return;  // it looks again when it fires
  if (session_timer_) loop_.cancel_timer(*session_timer_);
  session_timer_ = loop_.call_at(due_ns, [this] { on_deadline(); });
}

void Connection::on_deadline() {
  session_timer_.reset();
  carry_out(session_.on_tick(loop_.now_ms()));
  watch_deadline();
}

}  // namespace rram
