// A lease whose data goes over stream sockets: TCP, or a Unix socket where memory cannot be shared.
#pragma once

#include <memory>
#include <string_view>
#include <utility>

#include "rdma/control/controlled_lease.h"

namespace rram {

class TcpLease final : public ControlledLease {
 public:
  // `endpoint`: kTcp or kUnix.
  static Task<Result<std::unique_ptr<HeldLease>>> take(EventLoop& loop, Endpoint endpoint,
                                                       LeaseOptions options);

  [[nodiscard]] std::string_view transport_name() const override { return "tcp"; }
  Task<Result<std::unique_ptr<Lane>>> open_lane(EventLoop& loop, std::uint64_t lane,
                                                TimeLimit limit) override;

 private:
  using ControlledLease::ControlledLease;
};

}  // namespace rram
