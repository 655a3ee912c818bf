// Where connections come in: who may be here, on which worker they are served, and what those hear
// who may not.
#pragma once

#include <spdlog/logger.h>
#include <sys/socket.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "provider/admission.h"
#include "provider/unproved.h"
#include "provider/worker.h"
#include "rdma/verbs_provider.h"

namespace rram {

struct ReceptionOptions {
  std::uint32_t max_connections;
  std::uint32_t max_unproved_connections;  // of one address, without a lease
  std::string rdma_device;                 // the only one to come by; empty: any
  std::shared_ptr<spdlog::logger> log;
};

// All of it on the thread that accepts. Outlives the connections that it let in or refused.
class Reception {
 public:
  // `worker_cpus`: by worker; empty: they run anywhere. Both may be filled later, before the first
  // connection comes.
  Reception(ReceptionOptions options, const Admission& admission,
            const std::vector<std::unique_ptr<Worker>>& workers,
            const std::vector<unsigned>& worker_cpus);

  // A connection over a Unix socket or TCP that was accepted; by RDMA, one that was asked for.
  void welcome(UniqueFd socket_fd, bool is_unix);
  void welcome(VerbsArrival arrival);

 private:
  void welcome(Peer peer, Worker& worker, Worker::MakeChannel make_channel);
  [[nodiscard]] std::optional<std::string> take_place(Peer& peer);
  void log_limit(const Peer& peer);
  Worker& worker_for(std::optional<int> tcp_socket_fd);
  void admit_address(Peer& peer, const sockaddr_storage& address) const;
  void admit(Peer& peer, int socket_fd) const;

  const ReceptionOptions options_;
  const Admission& admission_;
  const std::vector<std::unique_ptr<Worker>>& workers_;
  const std::vector<unsigned>& worker_cpus_;
  std::atomic<std::uint32_t> refused_connections_{0};  // that are being told so
  UnprovedPlaces unproved_places_;
  std::size_t next_turn_ = 0;
  std::uint64_t limit_logged_ms_ = 0;  // when log_limit() last wrote a line
  std::uint64_t limits_unlogged_ = 0;  // since then
};

}  // namespace rram
