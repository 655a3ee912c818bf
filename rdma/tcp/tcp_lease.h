// A lease whose data goes over stream sockets: TCP, or a Unix socket where memory cannot be shared.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "rdma/control/control_connection.h"
#include "rdma/held_lease.h"

namespace rram {

class TcpLease final : public HeldLease {
 public:
  // `endpoint`: kTcp or kUnix.
  static Task<Result<std::unique_ptr<HeldLease>>> take(EventLoop& loop, Endpoint endpoint,
                                                       LeaseOptions options);

  [[nodiscard]] std::string_view transport_name() const override { return "tcp"; }
  [[nodiscard]] std::string provider_text() const override { return control_->provider_text(); }
  [[nodiscard]] const std::vector<RemoteRegion>& regions() const override {
    return control_->regions();
  }
  Task<Result<std::unique_ptr<Lane>>> open_lane(EventLoop& loop, std::uint64_t timeout_ms) override;
  Task<Status> reconnect(std::uint64_t timeout_ms) override;
  Task<> release(std::uint64_t timeout_ms) override;

 private:
  explicit TcpLease(std::unique_ptr<ControlConnection> control);

  std::unique_ptr<ControlConnection> control_;
};

}  // namespace rram
