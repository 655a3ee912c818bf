#include "rdma/control/controlled_lease.h"

namespace rram {

ControlledLease::ControlledLease(std::unique_ptr<ControlConnection> control)
    : control_(std::move(control)) {
  control_->set_on_ended([this](const Error& reason) {
    on_control_ended(reason);
    note_disconnected(reason);
  });
}

Task<Status> ControlledLease::reconnect(std::uint64_t timeout_ms) {
  return control_->reconnect(timeout_ms);
}

Task<> ControlledLease::release(std::uint64_t timeout_ms) { return control_->release(timeout_ms); }

}  // namespace rram
