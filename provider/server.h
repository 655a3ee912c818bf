// A whole provider in one object: pool, leases, workers, listeners. rram-provider runs one; tests
// run several in one process.
//
// Threads: start(), stop() and the destructor on one thread; the rest from any.
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
#include "provider/pool_plan.h"
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
  // kTcp (port 0: any free one) and at most one kUnix.
  std::vector<Endpoint> listen;
  // Besides: every address of this host, by TCP, and by RDMA where there is a device.
  bool listens_everywhere = false;
  std::string rdma_device;  // the only RDMA device to serve on; empty: any
  std::vector<Cidr> allow;
  std::optional<PresharedKey> key;
  unsigned workers = 0;  // 0: one a CPU, and on it
  std::uint64_t grace_ms = 2'000;
  std::uint64_t silent_grace_ms = 30'000;
  std::uint32_t max_connections = 4'096;
  ConnectionTimes times;
  std::shared_ptr<spdlog::logger> log;  // null: nothing is logged
  std::function<bool(std::uint64_t done_bytes, std::uint64_t total_bytes)> on_progress;
};

class ProviderServer {
 public:
  // Returns when requesters can connect. Errors: a sentence for a person, with the remedy.
  static Result<std::unique_ptr<ProviderServer>> start(ServerOptions options);
  // Ends every connection; the memory goes back to the host with this object.
  void stop();
  ~ProviderServer();
  ProviderServer(const ProviderServer&) = delete;
  ProviderServer& operator=(const ProviderServer&) = delete;

  // Where it listens, with real ports, in the order of the options.
  [[nodiscard]] std::vector<Endpoint> endpoints() const;
  [[nodiscard]] const PoolPlan& plan() const { return plan_; }
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
  void accept_on(const Listener& listener);
  Task<> accept_by_verbs(VerbsPort& port, std::string where);
  void welcome(VerbsArrival arrival);
  void welcome(Peer peer, Worker& worker, Worker::MakeChannel make_channel);
  Task<> accept_all(EventLoop& loop, int listening_fd, bool is_unix);
  void welcome(UniqueFd socket_fd, bool is_unix);
  Worker& worker_for(std::optional<int> tcp_socket_fd);
  void admit_address(Peer& peer, const sockaddr_storage& address) const;
  void admit(Peer& peer, int socket_fd) const;
  Task<> tick(EventLoop& loop);

  ServerOptions options_;
  const Admission admission_;
  const std::uint64_t started_ms_;
  const std::unique_ptr<VerbsService> verbs_ = VerbsService::create();
  std::vector<Listener> listeners_;
  PoolPlan plan_;
  std::unique_ptr<Pool> pool_;
  std::unique_ptr<LeaseKeeper> leases_;
  ProviderContext context_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::unique_ptr<VerbsPort>> verbs_ports_;
  std::vector<unsigned> worker_cpus_;  // by worker; empty: they run anywhere
  std::size_t next_turn_ = 0;          // on the accepting worker's thread
  std::atomic<bool> is_stopping_{false};
};

}  // namespace rram
