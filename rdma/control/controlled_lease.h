// What the leases of all transports with a control connection have in common.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "rdma/control/control_connection.h"
#include "rdma/held_lease.h"

namespace rram {

class ControlledLease : public HeldLease {
 public:
  [[nodiscard]] std::string provider_text() const override { return control_->provider_text(); }
  [[nodiscard]] const std::vector<RemoteRegion>& regions() const override {
    return control_->regions();
  }
  Task<Status> reconnect(std::uint64_t timeout_ms) override;
  Task<> release(std::uint64_t timeout_ms) override;

 protected:
  explicit ControlledLease(std::unique_ptr<ControlConnection> control);
  [[nodiscard]] ControlConnection& control() { return *control_; }

 private:
  // The connection has ended by itself; those who wait hear it after this.
  virtual void on_control_ended(const Error& /*reason*/) {}

  const std::unique_ptr<ControlConnection> control_;
};

}  // namespace rram
