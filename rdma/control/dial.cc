#include "rdma/control/dial.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <coroutine>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "base/io_timed.h"
#include "rdma/control/pacing.h"

namespace rram {

namespace {

using Addresses = std::vector<SocketAddress>;

// An idle connection whose peer host vanished without a word is given up after about
// kKeepIdleS + kKeepCount * kKeepIntervalS seconds; one with unsent data after kUserTimeoutMs.
constexpr int kKeepIdleS = 5;
constexpr int kKeepIntervalS = 2;
constexpr int kKeepCount = 3;
constexpr int kUserTimeoutMs = 10'000;

struct Lookup {
  int error = 0;  // of getaddrinfo
  Addresses addresses;
};

Lookup look_up(const std::string& host, std::uint16_t port, int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* raw = nullptr;
  Lookup found;
  found.error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &raw);
  if (found.error != 0) return found;
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> list(raw, &::freeaddrinfo);
  for (const addrinfo* entry = list.get(); entry != nullptr; entry = entry->ai_next) {
    SocketAddress& address = found.addresses.emplace_back();
    std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
    address.length_bytes = entry->ai_addrlen;
  }
  return found;
}

// A lookup on a thread of its own. getaddrinfo cannot be interrupted: if the deadline comes first,
// the thread ends by itself and finds that nobody waits for it.
class BackgroundLookup {
 public:
  BackgroundLookup(EventLoop& loop, std::uint64_t deadline_ns, std::string host, std::uint16_t port)
      : loop_(loop), deadline_ns_(deadline_ns), shared_(std::make_shared<Shared>()) {
    shared_->loop = &loop;
    shared_->host = std::move(host);
    shared_->port = port;
  }

  static constexpr bool await_ready() noexcept { return false; }

  bool await_suspend(std::coroutine_handle<> awaiter) {
    shared_->awaiter = awaiter;
    try {
      std::thread([shared = shared_] { run(shared); }).detach();
    } catch (const std::system_error&) {
      shared_->result = Lookup{EAI_MEMORY, {}};
      return false;
    }
    timer_ = loop_.call_at(deadline_ns_, [shared = shared_] {
      {
        const std::lock_guard lock(shared->mutex);
        shared->loop = nullptr;
      }
      wake(*shared);
    });
    return true;
  }

  // Nothing: the deadline came first.
  std::optional<Lookup> await_resume() {
    const std::lock_guard lock(shared_->mutex);
    if (shared_->loop != nullptr) loop_.cancel_timer(timer_);
    shared_->loop = nullptr;
    return std::move(shared_->result);
  }

 private:
  struct Shared {
    std::string host;
    std::uint16_t port = 0;
    std::coroutine_handle<> awaiter;  // of the loop's thread; null once resumed
    std::mutex mutex;                 // guards what follows; EventLoop::post() is called under it
    EventLoop* loop = nullptr;        // null when nobody waits any more
    std::optional<Lookup> result;
  };

  static void run(const std::shared_ptr<Shared>& shared) {
    Lookup found = look_up(shared->host, shared->port, AI_ADDRCONFIG);
    const std::lock_guard lock(shared->mutex);
    if (shared->loop == nullptr) return;
    shared->result = std::move(found);
    shared->loop->post([shared] { wake(*shared); });
  }

  static void wake(Shared& shared) {
    if (shared.awaiter) std::exchange(shared.awaiter, nullptr).resume();
  }

  EventLoop& loop_;
  std::uint64_t deadline_ns_;
  std::shared_ptr<Shared> shared_;
  EventLoop::TimerId timer_;
};

SocketAddress unix_address(const std::string& path) {
  SocketAddress address;
  sockaddr_un unix_path{};
  unix_path.sun_family = AF_UNIX;
  assert(path.size() < sizeof unix_path.sun_path);  // parse_endpoint() has seen to it
  std::ranges::copy(path, unix_path.sun_path);
  std::memcpy(&address.storage, &unix_path, sizeof unix_path);
  address.length_bytes = sizeof unix_path;
  return address;
}

bool is_same_host(const sockaddr_storage& a, const sockaddr* b) {
  if (b == nullptr || a.ss_family != b->sa_family) return false;
  if (a.ss_family == AF_INET) {
    sockaddr_in left{};
    sockaddr_in right{};
    std::memcpy(&left, &a, sizeof left);
    std::memcpy(&right, b, sizeof right);
    return left.sin_addr.s_addr == right.sin_addr.s_addr;
  }
  if (a.ss_family != AF_INET6) return false;
  sockaddr_in6 left{};
  sockaddr_in6 right{};
  std::memcpy(&left, &a, sizeof left);
  std::memcpy(&right, b, sizeof right);
  return std::memcmp(&left.sin6_addr, &right.sin6_addr, sizeof left.sin6_addr) == 0;
}

bool is_loopback_address(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    sockaddr_in ipv4{};
    std::memcpy(&ipv4, &address, sizeof ipv4);
    return (ntohl(ipv4.sin_addr.s_addr) >> 24U) == 127;
  }
  if (address.ss_family != AF_INET6) return false;
  sockaddr_in6 ipv6{};
  std::memcpy(&ipv6, &address, sizeof ipv6);
  return IN6_IS_ADDR_LOOPBACK(&ipv6.sin6_addr);
}

void set_option(int socket, int level, int name, int value) {
  // None of them is needed for correctness: a kernel without one is still served.
  ::setsockopt(socket, level, name, &value, sizeof value);
}

void set_tcp_options(int socket) {
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, kKeepIdleS);
  set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, kKeepIntervalS);
  set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, kKeepCount);
  set_option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, kUserTimeoutMs);
  avoid_pacing(socket);
}

Error explain_tcp(int error, const std::string& text) {
  switch (error) {
    case ECONNREFUSED:
      return {ErrorCode::kRefused,
              fmt::format("{}: connection refused: is rram-provider running there and listening on "
                          "that address?",
                          text)};
    case ETIMEDOUT:
      return {ErrorCode::kTimedOut,
              fmt::format("{}: no answer: is the host up, and does its firewall let this port "
                          "through?",
                          text)};
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EADDRNOTAVAIL:
      return {ErrorCode::kDisconnected,
              fmt::format("{}: no way to this address from here: check the address and the routes",
                          text)};
    default:
      return fail_errno(error, fmt::format("{}: cannot connect", text)).error();
  }
}

Error explain_unix(int error, const std::string& text) {
  switch (error) {
    case ENOENT:
    case ECONNREFUSED:
      return {
          error == ENOENT ? ErrorCode::kNotFound : ErrorCode::kRefused,
          fmt::format("{}: nobody listens on this socket: is rram-provider running on this host, "
                      "with this path as its socket?",
                      text)};
    case EACCES:
    case EPERM:
      return {ErrorCode::kRefused,
              fmt::format("{}: this user may not use the socket, only root and the provider's user "
                          "may: run as one of them, or use TCP",
                          text)};
    case ETIMEDOUT:
    case EAGAIN:
      return {ErrorCode::kTimedOut,
              fmt::format("{}: the provider does not accept connections: is it hanging?", text)};
    default:
      return fail_errno(error, fmt::format("{}: cannot connect", text)).error();
  }
}

}  // namespace

Task<Result<Addresses>> resolve(EventLoop& loop, Endpoint endpoint, std::uint64_t deadline_ns) {
  if (endpoint.scheme == Endpoint::Scheme::kUnix) co_return Addresses{unix_address(endpoint.path)};
  Lookup numeric = look_up(endpoint.host, endpoint.port, AI_NUMERICHOST);
  if (numeric.error == 0) co_return std::move(numeric.addresses);
  BackgroundLookup lookup(loop, deadline_ns, endpoint.host, endpoint.port);
  std::optional<Lookup> found = co_await lookup;
  if (!found) {
    co_return fail(ErrorCode::kTimedOut,
                   fmt::format("{}: looking up the name '{}' took too long: check this host's name "
                               "service, or write the address",
                               endpoint_text(endpoint), endpoint.host));
  }
  if (found->error != 0) {
    co_return fail(ErrorCode::kNotFound, fmt::format("{}: cannot look up '{}': {}: check the name",
                                                     endpoint_text(endpoint), endpoint.host,
                                                     ::gai_strerror(found->error)));
  }
  co_return std::move(found->addresses);
}

bool is_own_address(const SocketAddress& address) {
  if (is_loopback_address(address.storage)) return true;
  ifaddrs* raw = nullptr;
  if (::getifaddrs(&raw) != 0) return false;
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> list(raw, &::freeifaddrs);
  for (const ifaddrs* entry = list.get(); entry != nullptr; entry = entry->ifa_next) {
    if (is_same_host(address.storage, entry->ifa_addr)) return true;
  }
  return false;
}

Task<Result<UniqueFd>> connect_socket(EventLoop& loop, Endpoint endpoint, SocketAddress address,
                                      std::uint64_t deadline_ns) {
  const bool is_unix = endpoint.scheme == Endpoint::Scheme::kUnix;
  UniqueFd socket(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  int error = errno;
  if (socket) {
    if (!is_unix) set_tcp_options(socket.get());
    error = -co_await connect_until(loop, deadline_ns, socket.get(),
                                    reinterpret_cast<const sockaddr*>(&address.storage),
                                    address.length_bytes);
    if (error == 0) co_return std::move(socket);
  }
  const std::string text = endpoint_text(endpoint);
  co_return std::unexpected(is_unix ? explain_unix(error, text) : explain_tcp(error, text));
}

}  // namespace rram
