// How connections to one provider are made, for the control connection and for lanes alike: which
// of its addresses each goes to, and, by an implementation for each kind of connection, how.
//
// Where the endpoint has several hosts (NICs of one provider), control connections go to the first
// that answers, and data connections begin each with another one; where that one does not answer
// they take the next.
//
// Shared by a lease and its lanes: dial() is called first on the control loop, alone; once it has
// succeeded, on any worker's thread, with its own loop.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/task.h"
#include "rdma/control/byte_channel.h"
#include "rdma/control/dial.h"
#include "rdma/endpoint.h"
#include "rdma/wire/frames.h"

namespace rram {

class Dialer {
 public:
  virtual ~Dialer() = default;
  Dialer(const Dialer&) = delete;
  Dialer& operator=(const Dialer&) = delete;

  [[nodiscard]] const Endpoint& endpoint() const { return endpoint_; }
  // A connected channel. `lease`: what a data connection will join. The sentence of a failure names
  // the endpoint, why, and what to do.
  Task<Result<std::unique_ptr<ByteChannel>>> dial(EventLoop& loop, std::optional<LeaseId> lease,
                                                  std::uint64_t deadline_ns);

 protected:
  explicit Dialer(Endpoint endpoint) : endpoint_(std::move(endpoint)) {}

 private:
  // An address that may belong to one of the endpoint's hosts.
  struct Way {
    std::size_t host;
    Endpoint endpoint;  // of that host alone
    SocketAddress address;
  };

  // Connects to an address of `endpoint`, which has one host.
  virtual Task<Result<std::unique_ptr<ByteChannel>>> connect(EventLoop& loop, Endpoint endpoint,
                                                             SocketAddress address,
                                                             std::optional<LeaseId> lease,
                                                             std::uint64_t deadline_ns) = 0;

  Task<Result<std::vector<Way>>> find_ways(EventLoop& loop, std::uint64_t deadline_ns) const;
  static std::vector<const Way*> in_turn(const std::vector<Way>& ways, std::size_t turn);
  void remember(std::vector<Way> found, Way answered);

  const Endpoint endpoint_;
  std::vector<Way> ways_;  // by host; set by the first call that succeeds and constant after it
  std::atomic<std::size_t> turn_{0};
};

}  // namespace rram
