// A whole provider in one object: pool, leases, workers, listeners. rram-provider runs one; tests
// run several in one process.
//
// Threads: start(), wait_until_pinned(), stop() and the destructor on one thread; the rest from
// any.
#pragma once

#include <spdlog/logger.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/task.h"
#include "provider/admission.h"
#include "provider/context.h"
#include "provider/lease_keeper.h"
#include "provider/listener.h"
#include "provider/pool.h"
#include "provider/pool_filler.h"
#include "provider/pool_plan.h"
#include "provider/reception.h"
#include "provider/worker.h"
#include "rdma/endpoint.h"
#include "rdma/session/preshared_key.h"
#include "rdma/verbs_provider.h"

namespace rram {

struct ServerOptions {
  std::string name;              // in messages; empty: the host's name
  std::uint64_t size_bytes = 0;  // of the pool, rounded down to segments
  HugePages huge_pages = HugePages::kAuto;
  bool lock_memory = true;
  // kTcp and kVerbs (port 0: any free one) and at most one kUnix.
  std::vector<Endpoint> listen;
  // Besides: every address of this host, by TCP, and by RDMA where there is a device.
  bool listens_everywhere = false;
  std::string rdma_device;  // the only RDMA device to serve on; empty: any
  std::vector<Cidr> allow;
  std::optional<PresharedKey> key;
  // Whoever comes over the network must use records, so there is no RDMA. Needs a key.
  bool require_tls = false;
  unsigned workers = 0;  // 0: one a CPU, and on it
  std::uint64_t grace_ms = 2'000;
  std::uint64_t silent_grace_ms = 30'000;
  std::uint32_t max_connections = 4'096;
  // Of one address, without a lease. All lanes of a requester may come back at the same time: as
  // many as four with the most workers have.
  std::uint32_t max_unproved_connections = 512;
  ConnectionTimes times;
  std::shared_ptr<spdlog::logger> log;  // null: nothing is logged
  // Whether the pool may grow by that much while it is being pinned; empty: what the host has
  // available says so. Called on several threads at the same time.
  MayTakeMemory may_take_memory;
};

// Called a few times a second while memory is being pinned. False: do not wait for the rest.
using PinningProgress = std::function<bool(std::uint64_t done_bytes, std::uint64_t total_bytes)>;

class ProviderServer {
 public:
  // Returns when requesters can connect, while memory is still being pinned: they are lent what is
  // ready, or told to wait. Errors: a sentence for a person, with the remedy.
  static Result<std::unique_ptr<ProviderServer>> start(ServerOptions options);
  // Returns when all of the pool is pinned; or, where the host did not have it all but something
  // was lent before that showed, when the pool has shrunk to what is pinned. Errors: kCancelled
  // (`on_progress` said so; the pinning goes on), else why the pool could not be pinned: nothing
  // was ever lent, and nothing will be.
  Status wait_until_pinned(const PinningProgress& on_progress = {});
  // Ends the pinning and every connection; the memory goes back to the host with this object.
  void stop();
  ~ProviderServer();
  ProviderServer(const ProviderServer&) = delete;
  ProviderServer& operator=(const ProviderServer&) = delete;

  // Where it listens, with real ports, in the order of the options.
  [[nodiscard]] std::vector<Endpoint> endpoints() const;
  [[nodiscard]] const PoolPlan& plan() const { return plan_; }
  // Of the pool, pinned or not: the plan's, or less if not all of it could be pinned.
  [[nodiscard]] std::uint64_t pool_bytes() const { return pool_->size_bytes(); }
  [[nodiscard]] std::uint64_t pinned_bytes() const { return filler_->pinned_bytes(); }
  [[nodiscard]] StatsReply stats() const;
  // Who holds a lease now.
  [[nodiscard]] std::vector<std::string> requesters() const { return leases_->requesters(); }

 private:
  explicit ProviderServer(ServerOptions options);

  Status bind_listeners();
  Status bind_everywhere();
  Status make_pool();
  Status start_workers();
  Status open_unix_sockets();
  Status open_verbs_ports();
  Status listen_by_verbs(Listener& listener);
  void start_pinning();
  void on_pinning_failed(const Error& error);
  void accept_on(const Listener& listener);
  Task<> accept_all(EventLoop& loop, int listening_fd, bool is_unix);
  Task<> accept_by_verbs(VerbsPort& port, std::string where);
  Task<> tick(EventLoop& loop);

  ServerOptions options_;
  const Admission admission_;
  const std::uint64_t started_ms_;
  std::vector<Listener> listeners_;
  PoolPlan plan_;
  std::unique_ptr<Pool> pool_;
  // Goes before the pool, whose memory it has registered for leases that never got their drop(),
  // and after the connections.
  const std::unique_ptr<VerbsService> verbs_ = VerbsService::create();
  ProviderContext context_;
  // Outlive the leases, whose scrubber tells connections after the workers have stopped.
  Reception reception_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<LeaseKeeper> leases_;
  std::optional<Error> pinning_failure_;  // written by the filler before its wait() returns true
  std::unique_ptr<PoolFiller> filler_;
  std::vector<std::unique_ptr<VerbsPort>> verbs_ports_;
  std::vector<unsigned> worker_cpus_;  // by worker; empty: they run anywhere
  std::atomic<bool> is_stopping_{false};
};

}  // namespace rram
