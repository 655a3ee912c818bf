#include "provider/server.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spdlog/sinks/null_sink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/cpus.h"
#include "base/io.h"
#include "base/size_text.h"
#include "provider/host_memory.h"
#include "provider/worker_choice.h"
#include "rdma/control/pacing.h"
#include "rdma/tcp/socket_provider_channel.h"

namespace rram {

namespace {

constexpr unsigned kMaxWorkers = 128;
constexpr std::uint64_t kTickMs = 100;
constexpr std::chrono::milliseconds kProgressInterval{200};
constexpr const char* kRaiseOpenFiles =
    "; allow this process more of them with `ulimit -n`, or LimitNOFILE= of its service";
constexpr std::uint64_t kAcceptPauseMs = 100;  // after accept found no descriptor or memory
// So many at a time are told why they are refused; the rest are just closed.
constexpr std::uint32_t kConnectionsTold = 64;
constexpr std::uint64_t kLimitLogMs = 10'000;  // between two lines about limits
// A requester that vanished from the network shows within these.
constexpr int kKeepAliveIdleSeconds = 10;
constexpr int kKeepAliveIntervalSeconds = 5;
constexpr int kKeepAliveProbes = 4;
constexpr int kUnacknowledgedLimitMs = 30'000;

std::uint64_t now_ms() { return monotonic_ns() / 1'000'000; }

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name.front() == '\0') return "provider";
  return name.data();
}

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

Status check_room_here(std::uint64_t bytes) {
  const Result<HostMemory> host = read_host_memory();
  if (!host) return std::unexpected(host.error());
  return check_room(bytes, *host);
}

std::uint64_t load(const std::atomic<std::uint64_t>& counter) {
  return counter.load(std::memory_order_relaxed);
}

}  // namespace

Result<std::unique_ptr<ProviderServer>> ProviderServer::start(ServerOptions options) {
  std::unique_ptr<ProviderServer> server(new ProviderServer(std::move(options)));
  Status status = server->bind_listeners();
  if (status) status = server->make_pool();
  if (status) status = server->start_workers();
  if (status) status = server->open_unix_sockets();
  if (status) status = server->open_verbs_ports();
  for (const Listener& listener : server->listeners_) {
    if (!status) break;
    if (listener.endpoint.scheme == Endpoint::Scheme::kTcp) status = start_listening(listener);
  }
  if (!status) return std::unexpected(status.error());
  for (const Listener& listener : server->listeners_) {
    if (listener.endpoint.scheme != Endpoint::Scheme::kVerbs) server->accept_on(listener);
  }
  server->start_pinning();
  return server;
}

ProviderServer::ProviderServer(ServerOptions options)
    : options_(std::move(options)),
      admission_(options_.allow, options_.key.has_value()),
      started_ms_(now_ms()),
      unproved_places_(options_.max_unproved_connections) {
  if (!options_.log) {
    options_.log = std::make_shared<spdlog::logger>(
        "rram-provider", std::make_shared<spdlog::sinks::null_sink_mt>());
  }
  if (options_.name.empty()) options_.name = host_name();
}

ProviderServer::~ProviderServer() { stop(); }

// Everything that can be refused is refused before memory is touched.
Status ProviderServer::bind_listeners() {
  if (options_.require_tls && !options_.key) {
    return fail(ErrorCode::kInvalidArgument,
                "TLS needs a key that both sides have: give --key-file with --require-tls");
  }
  if (options_.listens_everywhere) {
    const Status bound = bind_everywhere();
    if (!bound) return bound;
  }
  for (const Endpoint& endpoint : options_.listen) {
    if (endpoint.scheme == Endpoint::Scheme::kUnix) {
      const Status is_free = check_unix_path_is_free(endpoint.path);
      if (!is_free) return is_free;
      continue;
    }
    const bool is_verbs = endpoint.scheme == Endpoint::Scheme::kVerbs;
    if (is_verbs && options_.require_tls) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}: RDMA cannot be encrypted: listen on tcp:// alone, or do without "
                              "--require-tls",
                              endpoint_text(endpoint)));
    }
    if (endpoint.scheme != Endpoint::Scheme::kTcp && !is_verbs) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("a provider listens on verbs://, tcp:// or unix://, not on {}",
                              endpoint_text(endpoint)));
    }
    Result<std::vector<Listener>> bound =
        is_verbs ? check_verbs(endpoint, admission_, *verbs_) : bind_tcp(endpoint, admission_);
    if (!bound) return std::unexpected(bound.error());
    std::ranges::move(*bound, std::back_inserter(listeners_));
  }
  return {};
}

// IPv6 and RDMA are used where this host has them.
Status ProviderServer::bind_everywhere() {
  Endpoint any;
  any.host = "0.0.0.0";
  Result<std::vector<Listener>> by_verbs =
      options_.require_tls
          ? fail(ErrorCode::kRefused, "RDMA cannot be encrypted, and TLS is required")
          : check_verbs(any, admission_, *verbs_);
  if (by_verbs) {
    std::ranges::move(*by_verbs, std::back_inserter(listeners_));
  } else {
    options_.log->info("by TCP only: {}", by_verbs.error().message);
  }
  Result<std::vector<Listener>> by_tcp = bind_tcp(any, admission_);
  if (!by_tcp) return std::unexpected(by_tcp.error());
  std::ranges::move(*by_tcp, std::back_inserter(listeners_));
  any.host = "::";
  Result<std::vector<Listener>> by_tcp6 = bind_tcp(any, admission_);
  if (by_tcp6) std::ranges::move(*by_tcp6, std::back_inserter(listeners_));
  return {};
}

Status ProviderServer::make_pool() {
  const Result<HostMemory> host = read_host_memory();
  if (!host) return std::unexpected(host.error());
  Result<PoolPlan> plan = plan_pool(options_.size_bytes, options_.huge_pages, *host);
  if (!plan) return std::unexpected(plan.error());
  plan_ = std::move(*plan);
  if (!plan_.note.empty()) options_.log->info("{}", plan_.note);
  options_.log->info("{}", plan_.pages_note);
  PoolOptions pool_options;
  pool_options.lock_memory = options_.lock_memory;
  Result<std::unique_ptr<Pool>> pool = Pool::create(plan_, pool_options);
  if (!pool) return std::unexpected(pool.error());
  pool_ = std::move(*pool);
  LeaseTableOptions lease_options;
  lease_options.segment_count = pool_->segment_count();
  lease_options.segment_bytes = pool_->segment_bytes();
  lease_options.starts_unpinned = true;
  lease_options.grace_ms = options_.grace_ms;
  lease_options.silent_grace_ms = std::max(options_.silent_grace_ms, options_.grace_ms);
  leases_ = std::make_unique<LeaseKeeper>(
      *pool_, lease_options, options_.log,
      [this](ConnectionId id, ConnectionOrder order) {
        workers_.at(Worker::index_of(id))->tell(id, std::move(order));
      },
      [this](const LeaseId& lease) { verbs_->drop(lease); });
  return {};
}

Status ProviderServer::start_workers() {
  const Result<Bytes16> incarnation = random_bytes16();
  if (!incarnation) return std::unexpected(incarnation.error());
  context_.name = options_.name;
  context_.incarnation = *incarnation;
  context_.key = options_.key;
  context_.require_tls = options_.require_tls;
  context_.times = options_.times;
  context_.pool = pool_.get();
  context_.leases = leases_.get();
  context_.stats = [this] { return stats(); };
  context_.log = options_.log;
  std::vector<unsigned> cpus = usable_cpus();
  const auto default_count = static_cast<unsigned>(std::min<std::size_t>(cpus.size(), kMaxWorkers));
  const unsigned count = options_.workers != 0 ? options_.workers : default_count;
  if (count == cpus.size()) worker_cpus_ = std::move(cpus);
  for (std::uint32_t i = 0; i < count; ++i) {
    std::optional<unsigned> cpu;
    if (!worker_cpus_.empty()) cpu = worker_cpus_[i];
    Result<std::unique_ptr<Worker>> worker = Worker::start(i, cpu, context_);
    if (!worker) return std::unexpected(worker.error());
    workers_.push_back(std::move(*worker));
  }
  workers_.front()->run_task([this](EventLoop& loop) { return tick(loop); });
  return {};
}

Status ProviderServer::open_unix_sockets() {
  for (const Endpoint& endpoint : options_.listen) {
    if (endpoint.scheme != Endpoint::Scheme::kUnix) continue;
    bool was_stale = false;
    Result<Listener> listener = listen_unix(endpoint.path, was_stale);
    if (!listener) return std::unexpected(listener.error());
    if (was_stale) options_.log->info("replaced {}, left by a provider that died", endpoint.path);
    listeners_.push_back(std::move(*listener));
  }
  return {};
}

Status ProviderServer::open_verbs_ports() {
  for (Listener& listener : listeners_) {
    if (listener.endpoint.scheme != Endpoint::Scheme::kVerbs) continue;
    Status status = listen_by_verbs(listener);
    if (!status) return status;
  }
  return {};
}

Status ProviderServer::listen_by_verbs(Listener& listener) {
  Result<std::unique_ptr<VerbsPort>> port =
      verbs_->listen(workers_.front()->loop(), listener.address);
  if (!port) {
    return fail(port.error().code,
                fmt::format("cannot listen on {}: {}", endpoint_text(listener.endpoint),
                            port.error().message));
  }
  listener.endpoint.port = (*port)->port();
  verbs_ports_.push_back(std::move(*port));
  workers_.front()->run_task([this, &port = *verbs_ports_.back(),
                              where = endpoint_text(listener.endpoint)](EventLoop& /*loop*/) {
    return accept_by_verbs(port, where);
  });
  return {};
}

// ---- pinning -----------------------------------------------------------------------------------

void ProviderServer::start_pinning() {
  PoolFillerOptions filling;
  filling.may_take = options_.may_take_memory;
  // Reserved huge pages belong to the pool since it was mapped.
  if (!filling.may_take && !plan_.huge_pages) filling.may_take = check_room_here;
  filling.on_pinned = [this](std::uint32_t segment) { leases_->pinned(segment); };
  filling.on_failed = [this](const Error& error) { on_pinning_failed(error); };
  filler_ = std::make_unique<PoolFiller>(*pool_, std::move(filling));
}

// On a filler thread.
void ProviderServer::on_pinning_failed(const Error& error) {
  const PinningEnd end = leases_->end_pinning();
  if (!end.goes_on) {
    pinning_failure_ = error;
    return;
  }
  for (const std::uint32_t segment : end.lost) pool_->give_back(segment);
  options_.log->warn(
      "the pool shrinks from {} to the {} that are pinned, because some of it is lent already "
      "({}); "
      "starting this provider again lends all of it",
      size_text(plan_.size_bytes()), size_text(pool_->size_bytes()), error.message);
}

Status ProviderServer::wait_until_pinned(const PinningProgress& on_progress) {
  for (;;) {
    const bool is_over = filler_->wait(kProgressInterval);
    if (on_progress && !on_progress(pinned_bytes(), pool_bytes())) {
      return fail(ErrorCode::kCancelled, "interrupted");
    }
    if (!is_over) continue;
    if (pinning_failure_) return std::unexpected(*pinning_failure_);
    return {};
  }
}

void ProviderServer::stop() {
  if (filler_) filler_->stop();
  is_stopping_ = true;
  // Wakes the pending accepts; the files of Unix sockets go when the listeners do.
  for (const Listener& listener : listeners_) {
    if (listener.fd) ::shutdown(listener.fd.get(), SHUT_RDWR);
  }
  for (const std::unique_ptr<VerbsPort>& port : verbs_ports_) {
    workers_.front()->run_task([&port = *port](EventLoop& /*loop*/) { return port.close(); });
  }
  for (const std::unique_ptr<Worker>& worker : workers_) worker->stop();
  listeners_.clear();
}

std::vector<Endpoint> ProviderServer::endpoints() const {
  std::vector<Endpoint> endpoints;
  endpoints.reserve(listeners_.size());
  for (const Listener& listener : listeners_) endpoints.push_back(listener.endpoint);
  return endpoints;
}

StatsReply ProviderServer::stats() const {
  const LeaseTotals totals = leases_->totals();
  StatsReply reply{};
  reply.pool_bytes = pool_->size_bytes();
  reply.leased_bytes = totals.leased_bytes;
  reply.free_bytes = totals.free_bytes;
  reply.reclaiming_bytes = totals.reclaiming_bytes + totals.unpinned_bytes;
  reply.leases = totals.leases;
  reply.connections = totals.connections;
  for (const std::unique_ptr<Worker>& worker : workers_) {
    const WorkerCounters& counters = worker->counters();
    reply.reads += load(counters.data.reads);
    reply.writes += load(counters.data.writes);
    reply.read_bytes += load(counters.data.read_bytes);
    reply.written_bytes += load(counters.data.written_bytes);
    reply.rejected_connections += load(counters.rejected_connections);
    reply.protocol_errors += load(counters.protocol_errors);
  }
  reply.uptime_ms = now_ms() - started_ms_;
  return reply;
}

// ---- on the first worker -----------------------------------------------------------------------

Task<> ProviderServer::tick(EventLoop& loop) {
  while (!is_stopping_) {
    leases_->tick();
    co_await loop.sleep_ms(kTickMs);
  }
}

void ProviderServer::accept_on(const Listener& listener) {
  const int fd = listener.fd.get();
  const bool is_unix = listener.endpoint.scheme == Endpoint::Scheme::kUnix;
  workers_.front()->run_task(
      [this, fd, is_unix](EventLoop& loop) { return accept_all(loop, fd, is_unix); });
}

Task<> ProviderServer::accept_all(EventLoop& loop, int listening_fd, bool is_unix) {
  bool has_complained = false;
  while (!is_stopping_) {
    const int accepted = co_await accept_connection(loop, listening_fd);
    if (is_stopping_) {
      if (accepted >= 0) ::close(accepted);
      break;
    }
    if (accepted >= 0) {
      has_complained = false;
      welcome(UniqueFd(accepted), is_unix);
      continue;
    }
    if (accepted == -ECONNABORTED || accepted == -EINTR) continue;
    if (!has_complained) {
      options_.log->warn("cannot accept connections: {}{}", std::strerror(-accepted),
                         accepted == -EMFILE ? kRaiseOpenFiles : "");
    }
    has_complained = true;
    co_await loop.sleep_ms(kAcceptPauseMs);
  }
}

void ProviderServer::welcome(UniqueFd socket_fd, bool is_unix) {
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

Task<> ProviderServer::accept_by_verbs(VerbsPort& port, std::string where) {
  for (;;) {
    Result<VerbsArrival> arrival = co_await port.next_arrival();
    if (arrival) {
      welcome(std::move(*arrival));
    } else if (arrival.error().code == ErrorCode::kUnavailable) {
      options_.log->warn("{}: {}", where, arrival.error().message);
    } else {
      co_return;
    }
  }
}

void ProviderServer::welcome(VerbsArrival arrival) {
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
void ProviderServer::welcome(Peer peer, Worker& worker, Worker::MakeChannel make_channel) {
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
std::optional<std::string> ProviderServer::take_place(Peer& peer) {
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
void ProviderServer::log_limit(const Peer& peer) {
  ++limits_unlogged_;
  const std::uint64_t now = now_ms();
  if (limit_logged_ms_ != 0 && now - limit_logged_ms_ < kLimitLogMs) return;
  limit_logged_ms_ = now;
  options_.log->warn("{}: refused: {} ({} refused by a limit since the last such line)", peer.text,
                     peer.refusal->message, std::exchange(limits_unlogged_, 0));
}

// The worker for a connection; one over TCP is best served where its packets arrive.
Worker& ProviderServer::worker_for(std::optional<int> tcp_socket_fd) {
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
void ProviderServer::admit(Peer& peer, int socket_fd) const {
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

void ProviderServer::admit_address(Peer& peer, const sockaddr_storage& address) const {
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
