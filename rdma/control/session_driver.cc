#include "rdma/control/session_driver.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <string>
#include <utility>
#include <variant>

#include "base/io_timed.h"
#include "base/size_text.h"

namespace rram {

namespace {

template <typename... Handlers>
struct Overloaded : Handlers... {
  using Handlers::operator()...;
};

// How often whoever waits looks whether it was called off.
constexpr std::uint64_t kCallOffCheckNs = 100'000'000;

std::uint64_t ns_of_ms(std::uint64_t time_ms) {
  constexpr std::uint64_t kNsPerMs = 1'000'000;
  return time_ms > UINT64_MAX / kNsPerMs ? UINT64_MAX : time_ms * kNsPerMs;
}

}  // namespace

Task<Result<Established>> SessionDriver::establish(std::uint64_t deadline_ns,
                                                   std::uint64_t longest_ns, CallOff call_off) {
  deadline_ns_ = deadline_ns;
  longest_ns_ = longest_ns;
  perform(session_.start(loop_.now_ms()));
  while (!is_established_ && !is_cut()) {
    co_await step(call_off ? std::min(deadline_ns_, loop_.now_ns() + kCallOffCheckNs)
                           : deadline_ns_);
    const bool is_called_off = call_off && *call_off;
    if (is_established_ || (!is_called_off && loop_.now_ns() < deadline_ns_)) continue;
    Error reason = is_called_off ? called_off() : out_of_time();
    perform(session_.release(loop_.now_ms()));  // ends it: there is no lease yet
    ended_ = std::move(reason);
  }
  if (is_cut()) {
    co_await channel_->close();
    co_return std::unexpected(*ended_);
  }
  established_.provider = *session_.hello_reply();
  co_return std::move(established_);
}

Error SessionDriver::called_off() const {
  return {ErrorCode::kCancelled,
          fmt::format("provider {}: called off before it had answered", provider_text_)};
}

Error SessionDriver::out_of_time() const {
  if (delayed_) {
    return {
        ErrorCode::kTimedOut,
        fmt::format("provider {}: {} are still being pinned, or cleared of what an earlier lease "
                    "had: try again a little later, or ask for less with size=",
                    provider_text_, size_text(delayed_->reclaiming_bytes))};
  }
  return {ErrorCode::kTimedOut, fmt::format("provider {}: it accepted the connection but did not "
                                            "answer in time (state {}): is it hanging?",
                                            provider_text_, session_.state_name())};
}

// Memory that is being zeroed or pinned is worth waiting for as long as it becomes less.
void SessionDriver::note_delay(const LeaseDelayed& delayed) {
  const bool is_headway = delayed_ && delayed.reclaiming_bytes < least_missing_bytes_;
  delayed_ = delayed;
  least_missing_bytes_ = std::min(least_missing_bytes_, delayed.reclaiming_bytes);
  if (is_headway) allow_more_time();
}

void SessionDriver::allow_more_time() {
  const std::uint64_t due_ns = std::min(longest_ns_, loop_.now_ns() + reply_limit_ns_);
  deadline_ns_ = std::max(deadline_ns_, due_ns);
}

void SessionDriver::keep_alive(std::function<void(const Error&)> on_ended,
                               std::function<void(std::uint64_t)> on_confirmed) {
  on_ended_ = std::move(on_ended);
  on_confirmed_ = std::move(on_confirmed);
  spawn(gate_, serve());
}

Task<> SessionDriver::serve() {
  std::uint64_t confirmed_ms = 0;
  while (!is_cut()) {
    const std::uint64_t valid_until_ms = session_.lease_valid_until_ms();
    if (std::exchange(confirmed_ms, valid_until_ms) != valid_until_ms && on_confirmed_) {
      on_confirmed_(valid_until_ms);
    }
    co_await step(UINT64_MAX);
  }
  if (on_ended_) on_ended_(*ended_);
}

Task<> SessionDriver::release(std::uint64_t deadline_ns) {
  if (!is_cut()) perform(session_.release(loop_.now_ms()));
  // At the deadline, or when the session has closed, the receive under way ends.
  const EventLoop::TimerId timer = loop_.call_at(deadline_ns, [this] { channel_->shut_down(); });
  co_await gate_.close();
  loop_.cancel_timer(timer);
  co_await channel_->close();
}

Task<> SessionDriver::end() {
  channel_->shut_down();
  co_await gate_.close();
  co_await channel_->close();
}

Task<> SessionDriver::step(std::uint64_t limit_ns) {
  const std::span<std::byte> bytes(receive_buffer_);
  // No more than the frame that is being read: what follows it may belong to a lane.
  const std::size_t wanted_bytes = std::min(bytes.size(), reader_.missing_bytes());
  const std::uint64_t due_ns = std::min(limit_ns, ns_of_ms(session_.next_deadline_ms()));
  const int received = co_await channel_->receive(bytes.first(wanted_bytes), due_ns);
  if (received > 0) {
    std::ranges::move(channel_->take_descriptors(), std::back_inserter(frame_descriptors_));
    take_bytes(bytes.first(static_cast<std::size_t>(received)));
  } else if (received == -EMSGSIZE) {
    perform(session_.on_malformed(
        {ErrorCode::kProtocol, "a frame came with more descriptors than this process can take"}));
  } else if (const std::optional<Error> ended = records_ended(received)) {
    perform(session_.on_malformed(*ended));
  } else if (received == -ETIMEDOUT && loop_.now_ns() < limit_ns) {
    perform(session_.on_tick(loop_.now_ms()));
  } else if (received != -ETIMEDOUT && received != -EINTR && received != -EAGAIN) {
    perform(session_.on_closed());
  }
}

void SessionDriver::take_bytes(std::span<const std::byte> bytes) {
  reader_.push(bytes);
  while (!is_cut()) {
    auto frame = reader_.next(session_.accepted(), session_.state_name());
    if (!frame) return perform(session_.on_malformed(frame.error()));
    if (!*frame) return;
    perform(session_.on_frame((*frame)->header, (*frame)->body, frame_descriptors_.size(),
                              loop_.now_ms()));
    frame_descriptors_.clear();  // those that were not taken
  }
}

void SessionDriver::perform(RequesterActions actions) {
  for (RequesterAction& action : actions) {
    std::visit(Overloaded{
                   [this](const SendFrame& frame) { send(frame.bytes); },
                   [this](const StartRecords& start) { start_records(start.keys); },
                   [this](const TakeDescriptors& /*taken*/) {
                     std::ranges::move(frame_descriptors_,
                                       std::back_inserter(established_.descriptors));
                     frame_descriptors_.clear();
                   },
                   [this](const LeaseReady& ready) {
                     established_.terms = ready.terms;
                     is_established_ = true;
                   },
                   [this](LeaseJoined& joined) {
                     established_.terms = joined.terms;
                     established_.regions = std::move(joined.regions);
                     is_established_ = true;
                   },
                   [this](const LeaseDelayed& delayed) { note_delay(delayed); },
                   [this](const AnswerPending& /*pending*/) { allow_more_time(); },
                   [](const SessionReady& /*ready*/) {},
                   [](const StatsArrived& /*stats*/) {},
                   [this](const CloseConnection& close) { finish(close.reason); },
               },
               action);
  }
}

void SessionDriver::send(std::span<const std::byte> bytes) {
  if (is_cut()) return;
  // The receive under way sees the end of the connection and tells the session.
  if (!channel_->send_now(bytes)) channel_->shut_down();
}

void SessionDriver::start_records(const RecordKeys& keys) {
  if (is_cut()) return;
  const Status started = channel_->start_records(keys);
  if (!started) finish(started.error());
}

void SessionDriver::finish(const Error& reason) {
  if (is_cut()) return;
  ended_ = reason;
  channel_->shut_down();
}

}  // namespace rram
