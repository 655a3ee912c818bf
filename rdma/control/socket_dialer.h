// Connections over stream sockets, TCP or Unix.
#pragma once

#include <utility>

#include "rdma/control/dial.h"
#include "rdma/control/dialer.h"

namespace rram {

class SocketDialer final : public Dialer {
 public:
  // `endpoint`: kTcp or kUnix.
  explicit SocketDialer(Endpoint endpoint) : endpoint_(std::move(endpoint)) {}

  [[nodiscard]] const Endpoint& endpoint() const override { return endpoint_; }
  // The first call looks the name up; later ones go to the address that answered. A SocketChannel.
  Task<Result<std::unique_ptr<ByteChannel>>> dial(EventLoop& loop, std::optional<LeaseId> lease,
                                                  std::uint64_t deadline_ns) override;

 private:
  const Endpoint endpoint_;
  std::optional<SocketAddress> address_;  // set by the first call and constant after it
};

}  // namespace rram
