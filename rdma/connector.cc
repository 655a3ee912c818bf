#include "rdma/connector.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "rdma/control/dial.h"
#include "rdma/local/local_lease.h"
#include "rdma/shm/shm_lease.h"
#include "rdma/tcp/tcp_lease.h"
#ifdef RRAM_HAS_VERBS
#include "rdma/verbs/verbs_lease.h"
#endif

namespace rram {

namespace {

using Scheme = Endpoint::Scheme;
using MaybeLease = Result<std::unique_ptr<HeldLease>>;

constexpr std::uint64_t kNsPerMs = 1'000'000;
Task<MaybeLease> take_by_verbs([[maybe_unused]] EventLoop& loop, Endpoint endpoint,
                               [[maybe_unused]] LeaseOptions options) {
#ifdef RRAM_HAS_VERBS
  MaybeLease lease = co_await VerbsLease::take(loop, std::move(endpoint), std::move(options));
  co_return std::move(lease);
#else
  co_return fail(ErrorCode::kUnavailable,
                 fmt::format("provider {}: this build has no RDMA", endpoint_text(endpoint)));
#endif
}

// Where RDMA itself is what is missing.
void add_way_out(Error& error) {
  if (error.code != ErrorCode::kUnavailable && error.code != ErrorCode::kDisconnected) return;
  error.message += "; tcp:// does without RDMA, and no scheme at all takes what there is";
}

// What is left of a budget that ends at `deadline_ns`; at least a moment, so that the last attempt
// fails by itself, with its own reason.
std::uint64_t left_ms(const EventLoop& loop, std::uint64_t deadline_ns) {
  const std::uint64_t now_ns = loop.now_ns();
  return deadline_ns > now_ns + kNsPerMs ? (deadline_ns - now_ns) / kNsPerMs : 1;
}

// By shared memory, else by frames over the socket.
Task<MaybeLease> take_over_unix(EventLoop& loop, Endpoint endpoint, LeaseOptions options,
                                std::vector<std::string>& notes) {
  const std::uint64_t deadline_ns = loop.now_ns() + options.timeout_ms * kNsPerMs;
  MaybeLease shared = co_await ShmLease::take(loop, endpoint, options);
  if (shared || shared.error().code != ErrorCode::kRefused) co_return std::move(shared);
  options.timeout_ms = left_ms(loop, deadline_ns);
  MaybeLease framed = co_await TcpLease::take(loop, endpoint, options);
  // The first reason says more: both attempts go the same way.
  if (!framed) co_return std::move(shared);
  notes.push_back(fmt::format("not shm: {}", shared.error().message));
  co_return std::move(framed);
}

bool socket_exists(const std::string& path) {
  struct stat about{};
  return ::stat(path.c_str(), &about) == 0 && S_ISSOCK(about.st_mode);
}

// Whether the provider's Unix socket on this host is the way to `host`; if not, a note says why.
Task<Result<bool>> is_this_host(EventLoop& loop, Endpoint host, std::uint64_t deadline_ns,
                                std::vector<std::string>& notes) {
  const Result<std::vector<SocketAddress>> addresses = co_await resolve(loop, host, deadline_ns);
  if (!addresses) co_return std::unexpected(addresses.error());
  if (!std::ranges::any_of(*addresses, is_own_address)) co_return false;
  if (host.port != kDefaultPort) {
    notes.push_back(
        fmt::format("not shm: port {} is not the default, so {} may belong to another "
                    "provider; unix://PATH names its socket",
                    host.port, kDefaultSocketPath));
    co_return false;
  }
  if (!socket_exists(std::string(kDefaultSocketPath))) {
    notes.push_back(fmt::format("not shm: there is no socket {}", kDefaultSocketPath));
    co_return false;
  }
  co_return true;
}

bool is_called_off(const LeaseOptions& options) { return options.call_off && *options.call_off; }

// Same host, then verbs, then TCP.
Task<MaybeLease> take_by_any(EventLoop& loop, Endpoint endpoint, LeaseOptions options,
                             std::vector<std::string>& notes) {
  if (options.tls) {
    notes.emplace_back("not shm, not verbs: tls is for TCP alone");
    endpoint.scheme = Scheme::kTcp;
    MaybeLease encrypted = co_await TcpLease::take(loop, endpoint, options);
    co_return std::move(encrypted);
  }
  const std::uint64_t deadline_ns = loop.now_ns() + options.timeout_ms * kNsPerMs;
  const std::uint64_t longest_ns = loop.now_ns() + options.longest_ms * kNsPerMs;
  const Result<bool> try_unix = co_await is_this_host(loop, endpoint, deadline_ns, notes);
  if (!try_unix) co_return std::unexpected(try_unix.error());
  if (*try_unix) {
    Endpoint socket;
    socket.scheme = Scheme::kUnix;
    socket.path = kDefaultSocketPath;
    options.timeout_ms = left_ms(loop, deadline_ns);
    MaybeLease lease = co_await take_over_unix(loop, socket, options, notes);
    if (lease || is_called_off(options)) co_return std::move(lease);
    notes.push_back(fmt::format("not shm: {}", lease.error().message));
  }
  // Half of the time at most: a host without RDMA may not answer at all.
  endpoint.scheme = Scheme::kVerbs;
  options.timeout_ms = std::max<std::uint64_t>(left_ms(loop, deadline_ns) / 2, 1);
  MaybeLease by_verbs = co_await take_by_verbs(loop, endpoint, options);
  if (by_verbs || is_called_off(options)) co_return std::move(by_verbs);
  notes.push_back(fmt::format("not verbs: {}", by_verbs.error().message));
  endpoint.scheme = Scheme::kTcp;
  // As much again, though the provider may have had RDMA wait for longer.
  options.timeout_ms = std::max(left_ms(loop, deadline_ns), options.timeout_ms);
  options.longest_ms = left_ms(loop, longest_ns);
  MaybeLease lease = co_await TcpLease::take(loop, endpoint, options);
  co_return std::move(lease);
}

}  // namespace

std::shared_ptr<LocalMemories> make_rdma_memories() {
#ifdef RRAM_HAS_VERBS
  return std::make_shared<LocalMemories>();
#else
  return nullptr;
#endif
}

Status check_tls(const Endpoint& endpoint, bool has_key) {
  if (endpoint.scheme == Scheme::kUnix || endpoint.scheme == Scheme::kVerbs) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("tls is for TCP, and {} is {}: write tcp://HOST for this provider, or "
                            "leave tls out",
                            endpoint_text(endpoint),
                            endpoint.scheme == Scheme::kUnix ? "a socket of this host" : "RDMA"));
  }
  if (!has_key) {
    return fail(ErrorCode::kInvalidArgument,
                "tls needs a key that both sides have: add key_file=FILE, with the key that the "
                "providers were given");
  }
  return {};
}

Task<Result<ConnectedLease>> connect_lease(EventLoop& loop, Endpoint endpoint,
                                           LeaseOptions options) {
  if (options.tls) {
    const Status possible = check_tls(endpoint, options.key.has_value());
    if (!possible) co_return std::unexpected(possible.error());
  }
  ConnectedLease connected;
  MaybeLease lease = fail(ErrorCode::kInvalidArgument);
  switch (endpoint.scheme) {
    case Scheme::kLocal:
    case Scheme::kNull:
      lease = LocalLease::create(endpoint, options.wanted_bytes);
      break;
    case Scheme::kTcp:
      lease = co_await TcpLease::take(loop, endpoint, options);
      break;
    case Scheme::kUnix:
      lease = co_await take_over_unix(loop, endpoint, options, connected.notes);
      break;
    case Scheme::kAny:
      lease = co_await take_by_any(loop, endpoint, options, connected.notes);
      break;
    case Scheme::kVerbs:
      lease = co_await take_by_verbs(loop, endpoint, options);
      if (!lease) add_way_out(lease.error());
      break;
  }
  if (!lease) co_return std::unexpected(lease.error());
  connected.lease = std::move(*lease);
  if (endpoint.scheme == Scheme::kAny || !connected.notes.empty()) {
    connected.notes.insert(connected.notes.begin(),
                           fmt::format("{} by {}", connected.lease->provider_text(),
                                       connected.lease->transport_name()));
  }
  co_return std::move(connected);
}

}  // namespace rram
