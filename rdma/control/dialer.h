// How connections to one provider are made, for the control connection and for lanes alike.
//
// Shared by a lease and its lanes: dial() is called first on the control loop, alone; after that on
// any worker's thread, with its own loop.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/task.h"
#include "rdma/control/byte_channel.h"
#include "rdma/endpoint.h"
#include "rdma/wire/frames.h"

namespace rram {

class Dialer {
 public:
  virtual ~Dialer() = default;
  Dialer(const Dialer&) = delete;
  Dialer& operator=(const Dialer&) = delete;

  [[nodiscard]] virtual const Endpoint& endpoint() const = 0;
  // A connected channel. `lease`: what a data connection will join. The sentence of a failure names
  // the endpoint, why, and what to do.
  virtual Task<Result<std::unique_ptr<ByteChannel>>> dial(EventLoop& loop,
                                                          std::optional<LeaseId> lease,
                                                          std::uint64_t deadline_ns) = 0;

 protected:
  Dialer() = default;
};

}  // namespace rram
