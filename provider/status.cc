#include "provider/status.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>
#include <variant>
#include <vector>

#include "base/event_loop.h"
#include "base/gate.h"
#include "rdma/control/socket_channel.h"
#include "rdma/control/socket_dialer.h"
#include "rdma/session/requester_session.h"
#include "rdma/wire/frame_reader.h"

namespace rram {

namespace {

Task<> dial_into(EventLoop& loop, Endpoint endpoint, std::uint64_t timeout_ms,
                 Result<UniqueFd>& outcome) {
  const std::uint64_t deadline_ns = loop.now_ns() + timeout_ms * 1'000'000;
  SocketDialer dialer(std::move(endpoint));
  Result<std::unique_ptr<ByteChannel>> channel =
      co_await dialer.dial(loop, std::nullopt, deadline_ns);
  if (channel) {
    outcome = static_cast<SocketChannel&>(**channel).take_socket();
  } else {
    outcome = std::unexpected(channel.error());
  }
  loop.stop();
}

Result<UniqueFd> connect_to(const Endpoint& endpoint, std::uint64_t timeout_ms) {
  auto loop = EventLoop::create(RingOptions{});
  if (!loop) return std::unexpected(loop.error());
  Result<UniqueFd> outcome = fail(ErrorCode::kCancelled);
  Gate gate;
  spawn(gate, dial_into(**loop, endpoint, timeout_ms, outcome));
  if (gate.running() > 0) (*loop)->run();
  if (!outcome) return outcome;
  timeval limit{};
  limit.tv_sec = static_cast<time_t>(timeout_ms / 1000);
  limit.tv_usec = static_cast<suseconds_t>(timeout_ms % 1000 * 1000);
  ::setsockopt(outcome->get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(outcome->get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  return outcome;
}

// Drives one session with blocking calls until it has an answer.
class StatsQuestion {
 public:
  StatsQuestion(UniqueFd socket_fd, RequesterSessionOptions options)
      : socket_fd_(std::move(socket_fd)), session_(std::move(options)) {}

  Result<StatsReply> ask() {
    carry_out(session_.start(now_ms()));
    while (!answer_) receive();
    return *std::move(answer_);
  }

 private:
  static std::uint64_t now_ms() { return monotonic_ns() / 1'000'000; }

  void receive() {
    std::array<std::byte, 4096> buffer;
    const std::size_t wanted_bytes = std::min(buffer.size(), reader_.missing_bytes());
    const ssize_t received = ::recv(socket_fd_.get(), buffer.data(), wanted_bytes, 0);
    if (received < 0 && errno == EINTR) return;
    if (received <= 0) return carry_out(session_.on_closed());
    reader_.push(std::span(buffer).first(static_cast<std::size_t>(received)));
    auto frame = reader_.next(session_.accepted(), session_.state_name());
    if (!frame) return carry_out(session_.on_malformed(frame.error()));
    if (*frame) carry_out(session_.on_frame((*frame)->header, (*frame)->body, 0, now_ms()));
  }

  void carry_out(RequesterActions actions) {
    for (RequesterAction& action : actions) {
      if (answer_) return;
      if (auto* send = std::get_if<SendFrame>(&action)) {
        ::send(socket_fd_.get(), send->bytes.data(), send->bytes.size(), MSG_NOSIGNAL);
      } else if (std::holds_alternative<SessionReady>(action)) {
        carry_out(session_.request_stats(now_ms()));
      } else if (auto* arrived = std::get_if<StatsArrived>(&action)) {
        answer_ = arrived->stats;
      } else if (auto* close = std::get_if<CloseConnection>(&action)) {
        answer_ = std::unexpected(std::move(close->reason));
      }
    }
  }

  UniqueFd socket_fd_;
  RequesterSession session_;
  FrameReader reader_;
  std::optional<Result<StatsReply>> answer_;
};

}  // namespace

Result<StatsReply> query_stats(Endpoint endpoint, std::optional<PresharedKey> key,
                               std::uint64_t timeout_ms) {
  if (endpoint.scheme == Endpoint::Scheme::kAny) endpoint.scheme = Endpoint::Scheme::kTcp;
  if (endpoint.scheme != Endpoint::Scheme::kTcp && endpoint.scheme != Endpoint::Scheme::kUnix) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("{} has no provider to ask; use tcp:// or unix://", endpoint_text(endpoint)));
  }
  Result<UniqueFd> socket_fd = connect_to(endpoint, timeout_ms);
  if (!socket_fd) return std::unexpected(socket_fd.error());
  RequesterSessionOptions options;
  options.requester_name = "rram-provider --status";
  options.provider_text = endpoint_text(endpoint);
  options.goal = ReadStats{};
  options.key = std::move(key);
  options.reply_limit_ms = timeout_ms;
  return StatsQuestion(std::move(*socket_fd), std::move(options)).ask();
}

std::string stats_json(const StatsReply& stats) {
  nlohmann::ordered_json json;
  json["pool_bytes"] = stats.pool_bytes;
  json["leased_bytes"] = stats.leased_bytes;
  json["free_bytes"] = stats.free_bytes;
  json["reclaiming_bytes"] = stats.reclaiming_bytes;
  json["leases"] = stats.leases;
  json["connections"] = stats.connections;
  json["reads"] = stats.reads;
  json["writes"] = stats.writes;
  json["read_bytes"] = stats.read_bytes;
  json["written_bytes"] = stats.written_bytes;
  json["rejected_connections"] = stats.rejected_connections;
  json["protocol_errors"] = stats.protocol_errors;
  json["uptime_ms"] = stats.uptime_ms;
  return json.dump(2);
}

}  // namespace rram
