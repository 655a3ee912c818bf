#include "provider/server.h"

#include <fmt/format.h>
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

namespace rram {

namespace {

constexpr unsigned kMaxWorkers = 128;
constexpr std::uint64_t kTickMs = 100;
constexpr std::chrono::milliseconds kProgressInterval{200};
constexpr const char* kRaiseOpenFiles =
    "; allow this process more of them with `ulimit -n`, or LimitNOFILE= of its service";
constexpr std::uint64_t kAcceptPauseMs = 100;  // after accept found no descriptor or memory

std::uint64_t now_ms() { return monotonic_ns() / 1'000'000; }

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name.front() == '\0') return "provider";
  return name.data();
}

ServerOptions completed(ServerOptions options) {
  if (!options.log) {
    options.log = std::make_shared<spdlog::logger>("rram-provider",
                                                   std::make_shared<spdlog::sinks::null_sink_mt>());
  }
  if (options.name.empty()) options.name = host_name();
  return options;
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
    : options_(completed(std::move(options))),
      admission_(options_.allow, options_.key.has_value()),
      started_ms_(now_ms()),
      reception_({options_.max_connections, options_.max_unproved_connections, options_.rdma_device,
                  options_.log},
                 admission_, workers_, worker_cpus_) {}

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
      reception_.welcome(UniqueFd(accepted), is_unix);
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

Task<> ProviderServer::accept_by_verbs(VerbsPort& port, std::string where) {
  for (;;) {
    Result<VerbsArrival> arrival = co_await port.next_arrival();
    if (arrival) {
      reception_.welcome(std::move(*arrival));
    } else if (arrival.error().code == ErrorCode::kUnavailable) {
      options_.log->warn("{}: {}", where, arrival.error().message);
    } else {
      co_return;
    }
  }
}

}  // namespace rram
