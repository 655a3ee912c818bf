#include "provider/connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <limits>
#include <utility>
#include <variant>

namespace rram {

namespace {

constexpr std::size_t kReadBytes = 4096;
constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kNsPerMs = 1'000'000;
// Pauses while a replaced connection ends.
constexpr std::uint64_t kFirstDepartureCheckMs = 1;
constexpr std::uint64_t kLastDepartureCheckMs = 20;

ProviderSessionOptions session_options(const ProviderContext& context, const Peer& peer) {
  ProviderSessionOptions options;
  options.provider_name = context.name;
  options.incarnation = context.incarnation;
  options.key = context.key;
  options.pool_bytes = context.pool->size_bytes();
  options.free_bytes = context.leases->totals().free_bytes;
  options.segment_bytes = context.pool->segment_bytes();
  options.can_pass_descriptors = peer.is_unix;
  options.can_use_records = peer.is_tcp;
  options.requires_records = context.require_tls;
  options.handshake_limit_ms = context.times.handshake_limit_ms;
  options.idle_limit_ms = context.times.idle_limit_ms;
  return options;
}

void count(std::atomic<std::uint64_t>& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

Connection::Connection(EventLoop& loop, const ProviderContext& context, WorkerCounters& counters,
                       ConnectionId id, std::unique_ptr<ProviderChannel> channel, Peer peer,
                       CountedLane lane)
    : loop_(loop),
      context_(context),
      counters_(counters),
      id_(id),
      channel_(std::move(channel)),
      peer_(std::move(peer)),
      counted_lane_(std::move(lane)),
      session_(session_options(context, peer_), loop.now_ms()) {}

Connection::~Connection() {
  assert(!session_timer_ && !linger_timer_ && data_server_ == nullptr && !is_sending_);
}

Task<> Connection::serve() {
  if (peer_.refusal) {
    carry_out(session_.end(peer_.refusal_code, peer_.refusal->message));
  }
  watch_deadline();
  co_await converse();
  if (session_.data_allowed()) co_await serve_data();
  // Who never could reach the memory does not hold up whoever takes the lane's place.
  if (session_.role() == Role::kData && !may_reach_memory_) leave_lease();
  co_await say_goodbye();
  co_await channel_->bytes().close();
  leave_lease();
}

// ---- the session -------------------------------------------------------------------------------

// Frames until the session is over or the connection may carry data.
Task<> Connection::converse() {
  std::array<std::byte, kReadBytes> buffer;
  while (session_.state() != ProviderSession::State::kClosed) {
    // A peer that asks without reading the answers waits.
    co_await AllSent{*this};
    if (awaits_records_) {  // what comes now was not sealed by the peer, whoever sent it
      carry_out(session_.on_closed());
      break;
    }
    if (session_.state() == ProviderSession::State::kClosed || session_.data_allowed()) break;
    const std::size_t wanted_bytes = std::min(buffer.size(), reader_.missing_bytes());
    const int received = co_await channel_->bytes().receive(std::span(buffer).first(wanted_bytes),
                                                            ByteChannel::kNoDeadline);
    channel_->bytes().take_descriptors();  // nobody asked for them
    if (received == -ECANCELED) continue;
    if (const std::optional<Error> ended = records_ended(received)) {
      carry_out(session_.on_malformed(*ended));
      break;
    }
    if (received <= 0) {
      is_peer_gone_ = true;
      if (received == -ETIMEDOUT || received == -EHOSTDOWN) departure_ = Departure::kSilent;
      carry_out(session_.on_closed());
      break;
    }
    reader_.push(std::span(buffer).first(static_cast<std::size_t>(received)));
    auto frame = reader_.next(session_.accepted(), session_.state_name());
    if (!frame) {
      carry_out(session_.on_malformed(frame.error()));
    } else if (*frame) {
      carry_out(session_.on_frame((*frame)->header, (*frame)->body, 0, loop_.now_ms()));
      watch_deadline();
      co_await answer_request();
    }
    watch_deadline();
  }
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

void Connection::act(const StartRecords& action) {
  awaits_records_ = true;
  send({{}, {}, action.keys});
}

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
  wish.host = peer_.host;
  wish.wanted_bytes = action.wanted_bytes;
  wish.pass_descriptors = action.descriptors;
  LeaseKeeper::Answer answer = context_.leases->grant(std::move(wish));
  if (const auto* wait = std::get_if<LeaseMustWait>(&answer)) {
    return carry_out(session_.wait(wait->reclaiming_bytes, wait->retry_ms, loop_.now_ms()));
  }
  if (const auto* refusal = std::get_if<Error>(&answer)) {
    return refuse(*refusal, WireError::kNoSpace);
  }
  unanswered_ = std::get<HeldLeaseView>(std::move(answer));
  peer_.unproved_place.reset();
  lease_id_ = unanswered_->terms.lease_id;
  segments_ = unanswered_->segments;
}

// What a request began and what takes time. Nothing is read meanwhile: what comes after the answer
// is a lane's.
Task<> Connection::answer_request() {
  if (!unanswered_) co_return;
  HeldLeaseView held = *std::exchange(unanswered_, std::nullopt);
  if (session_.state() == ProviderSession::State::kGranting) {
    co_await prepare_and_grant(held.terms);
  } else {
    co_await join_and_answer(std::move(held));
  }
}

Task<> Connection::prepare_and_grant(LeaseTerms terms) {
  const Status prepared = co_await channel_->prepare(terms.lease_id, lease_memory());
  if (prepared) {
    carry_out(session_.grant(terms, loop_.now_ms()));
  } else {
    // The requester may come another way at once: its memory should not wait for the grace time.
    context_.leases->release(terms.lease_id, id_);
    lease_id_.reset();
    refuse(prepared.error(), WireError::kInternal);
  }
}

// Whoever gets the answer relies on it that nothing of the replaced connection arrives any more.
Task<> Connection::join_and_answer(HeldLeaseView held) {
  const LeaseId id = held.terms.lease_id;
  const auto is_wanted = [this] { return session_.state() == ProviderSession::State::kAttaching; };
  for (std::uint64_t pause_ms = kFirstDepartureCheckMs;
       is_wanted() && !context_.leases->is_alone_in_lane(id, id_);
       pause_ms = std::min(2 * pause_ms, kLastDepartureCheckMs)) {
    co_await loop_.sleep_ms(pause_ms);
  }
  if (!is_wanted()) co_return;
  Result<std::vector<RegionEntry>> regions = co_await channel_->join(id, lease_memory(), is_wanted);
  if (regions) {
    may_reach_memory_ = true;
    carry_out(session_.attached(held.terms, *regions, loop_.now_ms()));
  } else {
    refuse(regions.error(), WireError::kRefused);
  }
}

std::vector<std::span<std::byte>> Connection::lease_memory() const {
  std::vector<std::span<std::byte>> memory;
  memory.reserve(segments_.size());
  for (const std::uint32_t segment : segments_) {
    memory.push_back(context_.pool->segment(segment).bytes());
  }
  return memory;
}

void Connection::act(const WantAttach& action) {
  Result<HeldLeaseView> held = context_.leases->attach(
      {action.role, action.lease_id, action.token, action.lane, id_, requester_text()});
  if (!held) return refuse(held.error(), WireError::kNoLease);
  peer_.unproved_place.reset();
  lease_id_ = action.lease_id;
  segments_ = held->segments;
  if (action.role == Role::kData) {
    unanswered_ = std::move(*held);
  } else {
    counted_lane_.reset();
    carry_out(session_.attached(held->terms, {}, loop_.now_ms()));
  }
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
  // Limits are met by many at a time: the server says so now and then.
  if (peer_.refusal && peer_.refusal_code == WireError::kLimit) return;
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
  if (data_server_ != nullptr) return data_server_->stop(order.code, order.text);
  carry_out(session_.end(order.code, order.text));
}

// ---- data --------------------------------------------------------------------------------------

Task<> Connection::serve_data() {
  const std::unique_ptr<DataServer> server =
      channel_->make_data_server(lease_memory(), counters_.data);
  data_server_ = server.get();
  const Status served = co_await server->serve();
  data_server_ = nullptr;
  // The server has told the peer what it had to be told; here only the books are closed.
  if (served) {
    is_peer_gone_ = true;
  } else {
    const ErrorCode code = served.error().code;
    const bool was_told = code == ErrorCode::kProtocol || code == ErrorCode::kInvalidArgument;
    if (was_told) count(counters_.protocol_errors);
    is_peer_gone_ = !was_told;
    if (code == ErrorCode::kTimedOut) departure_ = Departure::kSilent;
    context_.log->info("lane of {}: {}", requester_text(), served.error().message);
  }
  // Nothing of this connection touches memory any more; its peer may still have to be told so.
  leave_lease();
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
    const bool is_sent = co_await send_one(std::move(next));
    if (is_sent) continue;
    is_peer_gone_ = true;
    outgoing_.clear();
    channel_->bytes().shut_down();
  }
  is_sending_ = false;
  if (sent_waiter_) std::exchange(sent_waiter_, nullptr).resume();
}

Task<bool> Connection::send_one(Outgoing next) {
  if (next.record_keys) {
    const Status started = channel_->bytes().start_records(*next.record_keys);
    if (started) awaits_records_ = false;
    co_return started.has_value();
  }
  if (next.descriptors.empty()) {
    const int sent = co_await channel_->bytes().send(next.bytes);
    co_return sent == static_cast<int>(next.bytes.size());
  }
  const Status sent =
      co_await channel_->send_with_descriptors(std::move(next.bytes), std::move(next.descriptors));
  co_return sent.has_value();
}

// The session is over. The peer gets linger_ms to take what is still to be sent; then the
// connection is cut, whatever the peer does.
void Connection::begin_linger() {
  if (session_timer_) loop_.cancel_timer(*std::exchange(session_timer_, std::nullopt));
  channel_->bytes().call_off_receive();
  if (is_peer_gone_) {
    channel_->bytes().shut_down();
    return;
  }
  linger_timer_ = loop_.call_at(loop_.now_ns() + context_.times.linger_ms * kNsPerMs, [this] {
    linger_timer_.reset();
    is_peer_gone_ = true;
    channel_->bytes().shut_down();
  });
}

// Reads on to the peer's end: closing with unread input would throw away what the peer has not
// read yet.
Task<> Connection::say_goodbye() {
  co_await sends_.close();
  channel_->bytes().end_sending();
  std::array<std::byte, kReadBytes> ignored;
  int received = 1;
  while (!is_peer_gone_ && received > 0) {
    received = co_await channel_->bytes().receive_unread(ignored);
    channel_->bytes().take_descriptors();
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
