// A provider without its threads and listeners: a pool, its leases, and real connections over
// socket pairs, all on the one loop of the fuzzer, so that an input plays the same way each time.
// What it lends is given back between inputs: until_empty().
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>

#include "base/event_loop.h"
#include "base/fd.h"
#include "base/gate.h"
#include "base/task.h"
#include "provider/connection.h"
#include "provider/context.h"
#include "provider/lease_keeper.h"
#include "provider/pool.h"

namespace rram::fuzz {

class WholeProvider {
 public:
  WholeProvider();

  [[nodiscard]] EventLoop& loop() { return *loop_; }
  // Runs one input on the loop, to its end.
  void run(Task<> input);

  // The requester's end of a new connection, non-blocking. `is_unix`: a requester on this host,
  // which may be passed memory.
  UniqueFd connect(bool is_unix);
  // As a provider does several times a second.
  void tick() { leases_->tick(); }
  // After every requester has closed its end. Resumes when the provider is as it was made: no
  // connection, no lease, every segment free and zero. One that never is hangs, and libFuzzer says
  // so.
  Task<> until_empty();

 private:
  Task<> serve(std::unique_ptr<Connection> connection, ConnectionId id);
  void tell(ConnectionId id, ConnectionOrder order);
  [[nodiscard]] StatsReply stats() const;
  [[nodiscard]] bool is_empty() const;
  void require_zero_memory();

  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Pool> pool_;
  ProviderContext context_;
  WorkerCounters counters_;
  std::atomic<std::uint32_t> lanes_{0};
  std::map<ConnectionId, Connection*> connections_;
  ConnectionId next_id_ = 1;
  Gate serving_;
  std::unique_ptr<LeaseKeeper> leases_;
};

// Lets what was just sent arrive and be answered.
Task<> settle(EventLoop& loop);

}  // namespace rram::fuzz
