#include "fusefs/requester.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>
#include <utility>

#include "base/size_text.h"
#include "fusefs/front/convert.h"
#include "fusefs/memory_limit.h"
#include "rdma/session/preshared_key.h"

namespace rram {

namespace {

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

// The size asked for is spread evenly; a provider rounds its part up to whole segments.
std::uint64_t share_of(std::uint64_t size_bytes, std::size_t providers) {
  return (size_bytes + providers - 1) / providers;
}

// A worker that spins takes its CPU from the application that waits for it, where there are few.
constexpr unsigned kCpusForSpinning = 4;
constexpr std::uint64_t kDefaultSpinNs = 20'000;

std::uint64_t default_spin_ns(unsigned cpus) {
  return cpus >= kCpusForSpinning ? kDefaultSpinNs : 0;
}

// Unless told otherwise, names, attributes and block maps take no more than this part of the memory
// that this process may have: a flood of files meets ENOSPC, not the OOM killer.
constexpr std::uint64_t kMetadataShare = 4;

std::uint64_t host_memory_bytes() {
  return static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
         static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

// How often a mount that waits looks whether it is still wanted.
constexpr std::chrono::milliseconds kCallOffCheck{50};

// A result that is there already, as a task.
Task<Status> ready(Status status) { co_return status; }

using ConnectResult = Result<ConnectedLease>;

Task<> connect_one(EventLoop& loop, Endpoint endpoint, LeaseOptions options,
                   std::optional<ConnectResult>& result) {
  ConnectResult connected = co_await connect_lease(loop, std::move(endpoint), std::move(options));
  result.emplace(std::move(connected));
}

// All at the same time: the mount waits for the slowest, not for the sum.
Task<std::vector<std::optional<ConnectResult>>> connect_all(EventLoop& loop,
                                                            std::vector<Endpoint> endpoints,
                                                            LeaseOptions options) {
  std::vector<std::optional<ConnectResult>> results(endpoints.size());
  Gate connecting;
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    spawn(connecting, connect_one(loop, endpoints[i], options, results[i]));
  }
  co_await connecting.close();
  co_return results;
}

Task<> open_one(ProviderLink& link, CallOff call_off, Status& result) {
  result = co_await link.open(std::move(call_off));
}

Task<Status> open_all(Worker& worker, CallOff call_off) {
  std::vector<Status> results(worker.links().size());
  Gate opening;
  for (std::size_t i = 0; i < results.size(); ++i) {
    spawn(opening, open_one(*worker.links()[i], call_off, results[i]));
  }
  co_await opening.close();
  for (Status& result : results) {
    if (!result) co_return std::move(result);
  }
  co_return Status{};
}

// All at the same time: each may wait for an attempt on a dead provider to end.
Task<bool> close_all(Worker& worker) {
  co_await worker.running().close();
  Gate closing;
  for (const std::unique_ptr<ProviderLink>& link : worker.links()) spawn(closing, link->close());
  co_await closing.close();
  worker.links().clear();
  co_return true;
}

Task<bool> release_all(std::vector<std::unique_ptr<MountedProvider>>& providers) {
  Gate releasing;
  for (const std::unique_ptr<MountedProvider>& provider : providers) {
    spawn(releasing, provider->release());
  }
  co_await releasing.close();
  providers.clear();
  co_return true;
}

}  // namespace

Result<std::unique_ptr<Requester>> Requester::start(const RequesterOptions& options,
                                                    std::function<void(Status)> on_ended,
                                                    std::function<bool()> is_called_off) {
  std::unique_ptr<Requester> requester(new Requester(options, std::move(is_called_off)));
  Status status = requester->start_workers();
  if (status) status = requester->make_volume();
  if (status) status = requester->connect_providers();
  if (status) status = requester->open_links();
  if (Status wanted = requester->check_call_off(); !wanted) status = std::move(wanted);
  if (status) status = requester->mount(std::move(on_ended));
  if (!status) return std::unexpected(status.error());
  return requester;
}

template <typename T>
T Requester::wait_for(std::future<T> result) {
  while (result.wait_for(kCallOffCheck) != std::future_status::ready) {
    if (is_called_off_()) *call_off_ = true;
  }
  return result.get();
}

// Once called off, that is why, whatever it led to.
Status Requester::check_call_off() {
  if (!*call_off_ && !is_called_off_()) return {};
  return fail(ErrorCode::kCancelled,
              "interrupted before it had all providers: nothing is mounted, and what was leased is "
              "given back");
}

Status Requester::start_workers() {
  const Status available = io_uring_is_available();
  if (options_.front_end == FrontEndKind::kIoUring && !available) return available;
  const bool wants_io_uring = options_.front_end != FrontEndKind::kDevFuse && available;
  if (!available) spdlog::debug("using /dev/fuse: {}", available.error().message);
  const unsigned cpus = std::max(1U, std::thread::hardware_concurrency());
  const unsigned worker_count = options_.workers != 0 ? options_.workers : cpus;
  front_end_plan_ = FrontEndPlan::make(worker_count, possible_cpu_count(), wants_io_uring);
  const Result<Geometry> geometry = Geometry::make(options_.stripe_unit_bytes);
  if (!geometry) return std::unexpected(geometry.error());
  for (unsigned index = 0; index < worker_count; ++index) {
    // A queue's requests come from its own CPU: its worker is best found there.
    Result<std::unique_ptr<Worker>> worker =
        Worker::start({.index = index,
                       .pins_to_cpu = wants_io_uring && worker_count == cpus,
                       .front_arena_bytes = front_end_plan_.arena_bytes(index),
                       .stripe_unit_bytes = geometry->stripe_unit_bytes(),
                       .granule_bytes = geometry->granule_bytes(),
                       .operation_timeout_ms = options_.timeout_ms,
                       .spin_limit_ns = options_.poll_ns.value_or(default_spin_ns(cpus))});
    if (!worker) return std::unexpected(worker.error());
    workers_.push_back(std::move(*worker));
  }
  return {};
}

Status Requester::make_volume() {
  const Result<Geometry> geometry = Geometry::make(options_.stripe_unit_bytes);
  if (!geometry) return std::unexpected(geometry.error());
  const RootAttributes root{
      .mode = 0755, .uid = ::geteuid(), .gid = ::getegid(), .at = wall_clock_now()};
  NamespaceLimits limits;
  limits.max_memory_bytes = options_.metadata_bytes != 0
                                ? options_.metadata_bytes
                                : memory_limit_bytes(host_memory_bytes()) / kMetadataShare;
  volume_ = std::make_unique<Volume>(*geometry, limits, root);
  return {};
}

Status Requester::connect_providers() {
  LeaseOptions lease_options{
      .requester_name = fmt::format("{}:{}", host_name(), options_.mountpoint),
      .key = std::nullopt,
      .tls = options_.tls,
      .wanted_bytes = share_of(options_.size_bytes, options_.providers.size()),
      .timeout_ms = options_.timeout_ms,
      .longest_ms = kLongestMountMs,
      .call_off = call_off_,
      .rdma_device = options_.rdma_device,
      .rdma_memories = make_rdma_memories()};
  if (options_.key_file) {
    Result<PresharedKey> key = load_key_file(*options_.key_file);
    if (!key) return std::unexpected(key.error());
    lease_options.key = *key;
  }
  EventLoop& loop = control_worker().loop();
  std::vector<std::optional<ConnectResult>> results =
      wait_for(control_worker().run_async<std::vector<std::optional<ConnectResult>>>(
          [&] { return connect_all(loop, options_.providers, lease_options); }));
  // What lives on the control loop is made on it.
  return control_worker().run_blocking<Status>([&] { return ready(take_leases(results)); });
}

Status Requester::take_leases(std::vector<std::optional<Result<ConnectedLease>>>& results) {
  Status status;
  for (std::optional<ConnectResult>& result : results) {
    if (!*result) {
      if (status) status = std::unexpected((*result).error());
      continue;
    }
    ConnectedLease& connected = **result;
    std::ranges::move(connected.notes, std::back_inserter(notes_));
    const auto index = static_cast<unsigned>(providers_.size());
    const std::vector<RemoteRegion>& regions = connected.lease->regions();
    const Status added = volume_->add_lease(index, regions.front().length_bytes, regions.size());
    if (!added && status) {
      status = fail(added.error().code,
                    fmt::format("{}: {}: use a smaller stripe=, or a larger pool",
                                connected.lease->provider_text(), added.error().message));
    }
    providers_.push_back(std::make_unique<MountedProvider>(
        control_worker().loop(), *volume_, index, std::move(connected.lease), options_.timeout_ms));
  }
  return status;
}

Status Requester::open_links() {
  std::uint64_t lane = 0;
  for (const std::unique_ptr<Worker>& worker : workers_) {
    ++lane;  // each worker has one lane to each provider
    for (const std::unique_ptr<MountedProvider>& provider : providers_) {
      worker->links().push_back(
          std::make_unique<ProviderLink>(worker->loop(), *provider, lane, worker->arena()));
    }
    Status status =
        wait_for(worker->run_async<Status>([&] { return open_all(*worker, call_off_); }));
    if (!status) return status;
  }
  return {};
}

bool Requester::keeps_access_times() const {
  return std::ranges::none_of(options_.mount_options, [](std::string_view option) {
    return option == "noatime" || option == "ro";
  });
}

Status Requester::mount(std::function<void(Status)> on_ended) {
  front_end_ = std::make_unique<FrontEnd>(front_end_plan_, workers_);
  operations_ =
      std::make_unique<Operations>(*volume_, *front_end_,
                                   Operations::Options{.direct_io = options_.direct_io,
                                                       .keeps_access_times = keeps_access_times()});
  SessionOptions session_options{.program = options_.program,
                                 .mount_options = options_.mount_options,
                                 .debug = options_.debug,
                                 .wants_io_uring = front_end_plan_.wants_io_uring,
                                 .direct_io = options_.direct_io};
  session_options.mount_options.push_back("fsname=" + options_.fs_name);
  session_options.mount_options.emplace_back("subtype=rramfs");
  session_options.mount_options.emplace_back("default_permissions");
  if (options_.allow_other) session_options.mount_options.emplace_back("allow_other");
  Result<std::unique_ptr<FuseSession>> session = FuseSession::create(session_options, *operations_);
  if (!session) return std::unexpected(session.error());
  session_ = std::move(*session);
  if (Status status = session_->mount(options_.mountpoint); !status) return status;
  if (Status status = front_end_->prepare(*session_); !status) return status;
  if (Status status = session_->handshake(); !status) return status;
  is_serving_ = true;
  return front_end_->start(std::move(on_ended));
}

std::string Requester::summary() {
  std::set<std::string_view> transports;
  for (const std::unique_ptr<MountedProvider>& provider : providers_) {
    transports.insert(provider->lease().transport_name());
  }
  return fmt::format("{}, {} provider{}, {}, {}", options_.mountpoint, providers_.size(),
                     providers_.size() == 1 ? "" : "s", size_text(volume_->figures().total_bytes),
                     fmt::join(transports, "+"));
}

void Requester::close_links() {
  std::vector<std::future<bool>> closed;
  for (const std::unique_ptr<Worker>& worker : workers_) {
    closed.push_back(worker->run_async<bool>([&worker] { return close_all(*worker); }));
  }
  for (std::future<bool>& each : closed) each.get();
}

void Requester::release_leases() {
  if (workers_.empty()) return;
  control_worker().run_blocking<bool>([&] { return release_all(providers_); });
}

Requester::~Requester() {
  close_links();
  if (is_serving_) front_end_->destroy_queues();
  // Closes /dev/fuse: after the last worker has let it go.
  if (session_) session_->unmount();
  release_leases();
}

}  // namespace rram
