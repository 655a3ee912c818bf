#include "provider/reception.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <memory>
#include <utility>

#include "base/event_loop.h"
#include "provider/worker_choice.h"
#include "rdma/control/pacing.h"
#include "rdma/tcp/socket_provider_channel.h"

namespace rram {

namespace {

// So many at a time are told why they are refused; the rest are just closed.
constexpr std::uint32_t kConnectionsTold = 64;
constexpr std::uint64_t kLimitLogMs = 10'000;  // between two lines about limits
// A requester that vanished from the network shows within these.
constexpr int kKeepAliveIdleSeconds = 10;
constexpr int kKeepAliveIntervalSeconds = 5;
constexpr int kKeepAliveProbes = 4;
constexpr int kUnacknowledgedLimitMs = 30'000;

std::uint64_t now_ms() { return monotonic_ns() / 1'000'000; }

void set_option(int fd, int level, int option, int value) {
  // Each of them is only better to have.
  ::setsockopt(fd, level, option, &value, sizeof value);
}

void tune_tcp(int fd) {
  avoid_pacing(fd);
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveIdleSeconds);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveIntervalSeconds);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepAliveProbes);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kUnacknowledgedLimitMs);
}

}  // namespace

Reception::Reception(ReceptionOptions options, const Admission& admission,
                     const std::vector<std::unique_ptr<Worker>>& workers,
                     const std::vector<unsigned>& worker_cpus)
    : options_(std::move(options)),
      admission_(admission),
      workers_(workers),
      worker_cpus_(worker_cpus),
      unproved_places_(options_.max_unproved_connections) {}

void Reception::welcome(UniqueFd socket_fd, bool is_unix) {
  Peer peer;
  peer.is_unix = is_unix;
  peer.is_tcp = !is_unix;
  admit(peer, socket_fd.get());
  if (!is_unix) tune_tcp(socket_fd.get());
  std::optional<int> tcp_socket_fd;
  if (!is_unix) tcp_socket_fd = socket_fd.get();
  Worker& worker = worker_for(tcp_socket_fd);
  const auto socket = std::make_shared<UniqueFd>(std::move(socket_fd));
  welcome(std::move(peer), worker, [socket](EventLoop& loop) {
    return std::make_unique<SocketProviderChannel>(loop, std::move(*socket));
  });
}

void Reception::welcome(VerbsArrival arrival) {
  Peer peer;
  admit_address(peer, arrival.peer);
  peer.text += " by RDMA";
  if (!peer.refusal && !options_.rdma_device.empty() && arrival.device != options_.rdma_device) {
    peer.refusal = Error{ErrorCode::kRefused,
                         fmt::format("this provider serves on the RDMA device {} only, not on {}",
                                     options_.rdma_device, arrival.device)};
  }
  if (peer.refusal) {
    options_.log->info("{}: refused: {}", peer.text, peer.refusal->message);
    return arrival.refuse(peer.refusal->message);
  }
  welcome(std::move(peer), worker_for(std::nullopt), std::move(arrival.accept));
}

// Those who are only told why they may not be here take nobody's place.
void Reception::welcome(Peer peer, Worker& worker, Worker::MakeChannel make_channel) {
  if (!peer.refusal) {
    if (std::optional<std::string> limit = take_place(peer)) {
      peer.refusal = Error{ErrorCode::kRefused, std::move(*limit)};
      peer.refusal_code = WireError::kLimit;
      log_limit(peer);
    }
  }
  if (peer.refusal) {
    if (refused_connections_.load(std::memory_order_relaxed) >= kConnectionsTold) return;
    peer.refused_count = count_lane(refused_connections_);
  }
  worker.adopt(std::move(make_channel), std::move(peer));
}

// The limit that stands against this connection; else it has its place.
std::optional<std::string> Reception::take_place(Peer& peer) {
  std::uint32_t connections = 0;
  for (const std::unique_ptr<Worker>& each : workers_) connections += each->connection_count();
  const std::uint32_t refused = refused_connections_.load(std::memory_order_relaxed);
  const std::uint32_t admitted = connections - std::min(connections, refused);
  if (admitted >= options_.max_connections) {
    return fmt::format("this provider serves no more than {} connections",
                       options_.max_connections);
  }
  peer.unproved_place = unproved_places_.take(peer.network);
  if (peer.unproved_place) return std::nullopt;
  return fmt::format("{} has {} connections here that have no lease yet, and may not have more",
                     peer.network, options_.max_unproved_connections);
}

// Whoever runs into a limit may do so a thousand times a second.
void Reception::log_limit(const Peer& peer) {
  ++limits_unlogged_;
  const std::uint64_t now = now_ms();
  if (limit_logged_ms_ != 0 && now - limit_logged_ms_ < kLimitLogMs) return;
  limit_logged_ms_ = now;
  options_.log->warn("{}: refused: {} ({} refused by a limit since the last such line)", peer.text,
                     peer.refusal->message, std::exchange(limits_unlogged_, 0));
}

// The worker for a connection; one over TCP is best served where its packets arrive.
Worker& Reception::worker_for(std::optional<int> tcp_socket_fd) {
  std::vector<std::uint32_t> lanes;
  lanes.reserve(workers_.size());
  for (const std::unique_ptr<Worker>& worker : workers_) lanes.push_back(worker->lane_count());
  std::optional<std::size_t> local;
  int cpu = -1;
  socklen_t length = sizeof cpu;
  if (tcp_socket_fd &&
      ::getsockopt(*tcp_socket_fd, SOL_SOCKET, SO_INCOMING_CPU, &cpu, &length) == 0) {
    const auto found = std::ranges::find(worker_cpus_, static_cast<unsigned>(cpu));
    if (found != worker_cpus_.end()) local = std::distance(worker_cpus_.begin(), found);
  }
  return *workers_[choose_worker(lanes, local, next_turn_++)];
}

// Fills in who the peer is, and the refusal if it may not be here.
void Reception::admit(Peer& peer, int socket_fd) const {
  if (peer.is_unix) {
    ucred credentials{};
    socklen_t length = sizeof credentials;
    const int rc = ::getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length);
    peer.text = fmt::format("pid {}", credentials.pid);
    peer.host = "this host";
    peer.network = peer.host;
    if (rc != 0) {
      peer.refusal = Error{ErrorCode::kRefused, "the host does not say who this is"};
    } else if (credentials.uid != 0 && credentials.uid != ::geteuid()) {
      peer.refusal = Error{
          ErrorCode::kRefused,
          fmt::format("user {} is neither root nor the user of this provider", credentials.uid)};
    }
    return;
  }
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  ::getpeername(socket_fd, reinterpret_cast<sockaddr*>(&address), &length);
  admit_address(peer, address);
}

void Reception::admit_address(Peer& peer, const sockaddr_storage& address) const {
  const Result<IpAddress> ip = ip_address_of(address);
  if (!ip) {  // it has gone again
    peer.text = "unknown address";
    peer.refusal = ip.error();
    return;
  }
  sockaddr_in with_port{};
  std::memcpy(&with_port, &address, sizeof with_port);
  peer.host = ip_address_text(*ip);
  peer.network = network_text(*ip);
  peer.text = fmt::format("{} port {}", peer.host, ntohs(with_port.sin_port));
  const Status admitted = admission_.check_peer(*ip);
  if (!admitted) peer.refusal = admitted.error();
}

}  // namespace rram
