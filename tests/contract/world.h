// What the contract suite needs of a transport: a place with memory, leases of it, and its death.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/task.h"
#include "rdma/held_lease.h"

namespace rram::test {

class World {
 public:
  virtual ~World() = default;
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // A lease of its own, of at least `wanted_bytes`.
  virtual Task<Result<std::unique_ptr<HeldLease>>> take(EventLoop& loop,
                                                        std::uint64_t wanted_bytes) = 0;
  // False where requester and provider are one process.
  [[nodiscard]] virtual bool can_die() const { return true; }
  // Why nothing can be tested here; empty where it can.
  [[nodiscard]] virtual std::string obstacle() const { return {}; }
  // Lanes change their connection all the time. Between two of them the end of the provider is one
  // more that does not answer yet, and what waits ends by its deadline.
  [[nodiscard]] virtual bool renews_lanes() const { return false; }
  // Ends the provider; its memory is gone.
  virtual void kill() {}
  // Starts another one in its place. Only after kill().
  virtual void start_again() {}

 protected:
  World() = default;
};

struct WorldKind {
  std::string name;
  std::function<std::unique_ptr<World>()> make;
};

WorldKind local_world();
WorldKind tcp_world();           // frames over TCP on loopback
WorldKind tcp_key_world();       // the same with a pre-shared key
WorldKind tcp_tls_world();       // in records
WorldKind tcp_renewing_world();  // in records, with keys that last for a few only
WorldKind unix_world();          // frames over a Unix socket
WorldKind shm_world();           // shared memory
// RDMA, at the address in RRAM_TEST_VERBS_ADDRESS, which an RDMA device of this host has (the lab
// sets it); without it, its tests are skipped.
WorldKind verbs_world();
WorldKind verbs_key_world();

}  // namespace rram::test
