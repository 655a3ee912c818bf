// Connections over stream sockets, TCP or Unix.
#pragma once

#include <utility>

#include "rdma/control/dialer.h"

namespace rram {

class SocketDialer final : public Dialer {
 public:
  // `endpoint`: kTcp or kUnix. dial() gives a SocketChannel.
  explicit SocketDialer(Endpoint endpoint) : Dialer(std::move(endpoint)) {}

 private:
  Task<Result<std::unique_ptr<ByteChannel>>> connect(EventLoop& loop, Endpoint endpoint,
                                                     SocketAddress address,
                                                     std::optional<LeaseId> lease,
                                                     std::uint64_t deadline_ns) override;
};

}  // namespace rram
