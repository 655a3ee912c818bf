// A lease whose data goes over stream sockets: TCP, or a Unix socket where memory cannot be shared.
#pragma once

#include <memory>
#include <string_view>
#include <utility>

#include "rdma/control/controlled_lease.h"
#include "rdma/tcp/tcp_lane.h"

namespace rram {

class TcpLease final : public ControlledLease {
 public:
  // `endpoint`: kTcp or kUnix.
  static Task<Result<std::unique_ptr<HeldLease>>> take(EventLoop& loop, Endpoint endpoint,
                                                       LeaseOptions options);

  [[nodiscard]] std::string_view transport_name() const override {
    return has_tls_ ? "tcp with tls" : "tcp";
  }
  Task<Result<std::unique_ptr<Lane>>> open_lane(EventLoop& loop, std::uint64_t lane,
                                                TimeLimit limit) override;

 private:
  TcpLease(std::unique_ptr<ControlConnection> control, const LeaseOptions& options)
      : ControlledLease(std::move(control)),
        has_tls_(options.tls),
        timeout_ms_(options.timeout_ms),
        records_before_renewal_(options.records_before_renewal) {}

  Task<Result<SealedConnection>> open_sealed(EventLoop& loop, std::uint64_t lane, TimeLimit limit);

  const bool has_tls_;
  const std::uint64_t timeout_ms_;
  const std::uint64_t records_before_renewal_;
};

}  // namespace rram
