#include "provider/listener.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace rram {

namespace {

constexpr int kBacklog = 256;

struct AddressListDeleter {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using AddressList = std::unique_ptr<addrinfo, AddressListDeleter>;

Result<AddressList> resolve(const Endpoint& endpoint) {
  if (!endpoint.more_hosts.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("cannot listen on {}: give each address a --listen of its own",
                            endpoint_text(endpoint)));
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const std::string port = std::to_string(endpoint.port);
  const int rc = ::getaddrinfo(endpoint.host.c_str(), port.c_str(), &hints, &list);
  if (rc == 0) return AddressList(list);
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("cannot listen on {}: '{}' is no address of this host ({})",
                          endpoint_text(endpoint), endpoint.host, ::gai_strerror(rc)));
}

std::unexpected<Error> fail_to_bind(int errno_value, const Endpoint& endpoint) {
  if (errno_value == EADDRINUSE) {
    return fail(ErrorCode::kExists,
                fmt::format("cannot listen on {}: another program, perhaps another provider, has "
                            "that port; choose one with --listen tcp://{}:PORT",
                            endpoint_text(endpoint), endpoint.host));
  }
  if (errno_value == EADDRNOTAVAIL) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("cannot listen on {}: this host does not have that address",
                            endpoint_text(endpoint)));
  }
  return fail_errno(errno_value, fmt::format("cannot listen on {}", endpoint_text(endpoint)));
}

Result<Listener> bind_one(const addrinfo& address, Endpoint endpoint, const Admission& admission) {
  sockaddr_storage bound{};
  std::memcpy(&bound, address.ai_addr, address.ai_addrlen);
  const Result<IpAddress> ip = ip_address_of(bound);
  if (!ip) return std::unexpected(ip.error());
  endpoint.host = ip_address_text(*ip);
  const Status admitted = admission.check_listener(endpoint);
  if (!admitted) return std::unexpected(admitted.error());
  UniqueFd fd(::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_to_bind(errno, endpoint);
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address.ai_family == AF_INET6) {
    ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  }
  if (::bind(fd.get(), address.ai_addr, address.ai_addrlen) != 0) {
    return fail_to_bind(errno, endpoint);
  }
  socklen_t bound_bytes = sizeof bound;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound), &bound_bytes);
  // The port stands at the same place in both families.
  sockaddr_in with_port{};
  std::memcpy(&with_port, &bound, sizeof with_port);
  endpoint.scheme = Endpoint::Scheme::kTcp;
  endpoint.port = ntohs(with_port.sin_port);
  return Listener{std::move(endpoint), std::move(fd), nullptr};
}

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the path of a Unix socket has 1 to {} bytes: '{}'",
                            sizeof address.sun_path - 1, path));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

enum class SocketState : std::uint8_t { kNone, kStale, kAlive };

Result<SocketState> probe_unix(const std::string& path) {
  const Result<sockaddr_un> address = unix_address(path);
  if (!address) return std::unexpected(address.error());
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) return SocketState::kNone;
  if (!S_ISSOCK(info.st_mode)) {
    return fail(ErrorCode::kExists,
                fmt::format("{} exists and is no socket; choose another place with --unix", path));
  }
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno(errno, "cannot make a Unix socket");
  const int rc = ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address);
  // Anything but a refusal (a full backlog, no permission) means that somebody may be there.
  return rc != 0 && errno == ECONNREFUSED ? SocketState::kStale : SocketState::kAlive;
}

}  // namespace

SocketFile::SocketFile(std::string path) : path_(std::move(path)) {
  struct stat info{};
  if (::lstat(path_.c_str(), &info) != 0) return;
  device_ = info.st_dev;
  inode_ = info.st_ino;
}

SocketFile::~SocketFile() {
  struct stat info{};
  const bool is_ours = ::lstat(path_.c_str(), &info) == 0 && info.st_dev == device_ &&
                       info.st_ino == inode_ && S_ISSOCK(info.st_mode);
  if (is_ours) ::unlink(path_.c_str());
}

Result<std::vector<Listener>> bind_tcp(const Endpoint& endpoint, const Admission& admission) {
  const Result<AddressList> addresses = resolve(endpoint);
  if (!addresses) return std::unexpected(addresses.error());
  std::vector<Listener> listeners;
  for (const addrinfo* address = addresses->get(); address != nullptr; address = address->ai_next) {
    Result<Listener> listener = bind_one(*address, endpoint, admission);
    if (!listener) return std::unexpected(listener.error());
    listeners.push_back(std::move(*listener));
  }
  return listeners;
}

Result<std::vector<Listener>> check_verbs(const Endpoint& endpoint, const Admission& admission,
                                          VerbsService& verbs) {
  const Result<AddressList> addresses = resolve(endpoint);
  if (!addresses) return std::unexpected(addresses.error());
  std::vector<Listener> listeners;
  for (const addrinfo* address = addresses->get(); address != nullptr; address = address->ai_next) {
    Listener listener;
    std::memcpy(&listener.address, address->ai_addr, address->ai_addrlen);
    const Result<IpAddress> ip = ip_address_of(listener.address);
    if (!ip) return std::unexpected(ip.error());
    listener.endpoint = endpoint;
    listener.endpoint.scheme = Endpoint::Scheme::kVerbs;
    listener.endpoint.host = ip_address_text(*ip);
    const Status admitted = admission.check_listener(listener.endpoint);
    if (!admitted) return std::unexpected(admitted.error());
    const Status possible = verbs.check(listener.address);
    if (!possible) {
      return fail(possible.error().code,
                  fmt::format("cannot listen on {}: {}", endpoint_text(listener.endpoint),
                              possible.error().message));
    }
    listeners.push_back(std::move(listener));
  }
  return listeners;
}

Status check_unix_path_is_free(const std::string& path) {
  const Result<SocketState> state = probe_unix(path);
  if (!state) return std::unexpected(state.error());
  if (*state != SocketState::kAlive) return {};
  return fail(ErrorCode::kExists,
              fmt::format("a provider that is running has {}; choose another place with --unix "
                          "PATH, or do without with --no-unix",
                          path));
}

Result<Listener> listen_unix(const std::string& path, bool& was_stale) {
  const Status is_free = check_unix_path_is_free(path);
  if (!is_free) return std::unexpected(is_free.error());
  const Result<sockaddr_un> address = unix_address(path);
  if (!address) return std::unexpected(address.error());
  const std::string folder = std::filesystem::path(path).parent_path().string();
  if (!folder.empty() && ::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) {
    return fail_errno(errno, fmt::format("cannot make the folder {} for the Unix socket; run as "
                                         "root, or use --unix PATH or --no-unix",
                                         folder));
  }
  was_stale = ::unlink(path.c_str()) == 0;
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno(errno, "cannot make a Unix socket");
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
    return fail_errno(errno, fmt::format("cannot make the Unix socket {}; run as root, or use "
                                         "--unix PATH or --no-unix",
                                         path));
  }
  Listener listener;
  listener.endpoint.scheme = Endpoint::Scheme::kUnix;
  listener.endpoint.path = path;
  listener.fd = std::move(fd);
  listener.socket_file = std::make_unique<SocketFile>(path);
  // Nobody can connect before it listens, so there is no moment with a wider mode.
  if (::chmod(path.c_str(), 0600) != 0) {
    return fail_errno(errno, fmt::format("cannot set the mode of {}", path));
  }
  const Status listening = start_listening(listener);
  if (!listening) return std::unexpected(listening.error());
  return listener;
}

Status start_listening(const Listener& listener) {
  if (::listen(listener.fd.get(), kBacklog) == 0) return {};
  return fail_to_bind(errno, listener.endpoint);
}

}  // namespace rram
