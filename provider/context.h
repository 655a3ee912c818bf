// What every connection of one provider shares. Filled by ProviderServer before the first
// connection is accepted, constant after that.
#pragma once

#include <spdlog/logger.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "provider/lease_keeper.h"
#include "provider/pool.h"
#include "rdma/control/provider_channel.h"
#include "rdma/session/preshared_key.h"
#include "rdma/wire/frames.h"

namespace rram {

struct ConnectionTimes {
  std::uint64_t handshake_limit_ms = 5'000;
  std::uint64_t idle_limit_ms = 60'000;
  // After an ERROR: how long the peer has to read it before the connection is cut.
  std::uint64_t linger_ms = 1'000;
};

// Counted by one worker, read by any thread.
struct WorkerCounters {
  DataCounters data;
  std::atomic<std::uint64_t> rejected_connections{0};
  std::atomic<std::uint64_t> protocol_errors{0};
};

struct ProviderContext {
  std::string name;
  Incarnation incarnation{};
  std::optional<PresharedKey> key;
  bool require_tls = false;
  ConnectionTimes times;
  Pool* pool = nullptr;
  LeaseKeeper* leases = nullptr;
  std::function<StatsReply()> stats;
  std::shared_ptr<spdlog::logger> log;
};

}  // namespace rram
