// A lease whose data goes by RDMA READ and WRITE straight between this process's buffers and the
// provider's memory.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "rdma/control/control_connection.h"
#include "rdma/held_lease.h"
#include "rdma/verbs/verbs_dialer.h"

namespace rram {

class VerbsLease final : public HeldLease {
 public:
  // `endpoint`: kVerbs.
  static Task<Result<std::unique_ptr<HeldLease>>> take(EventLoop& loop, Endpoint endpoint,
                                                       LeaseOptions options);

  [[nodiscard]] std::string_view transport_name() const override { return "verbs"; }
  [[nodiscard]] std::string provider_text() const override { return control_->provider_text(); }
  [[nodiscard]] const std::vector<RemoteRegion>& regions() const override {
    return control_->regions();
  }
  Task<Result<std::unique_ptr<Lane>>> open_lane(EventLoop& loop, std::uint64_t timeout_ms) override;
  Task<Status> reconnect(std::uint64_t timeout_ms) override;
  Task<> release(std::uint64_t timeout_ms) override;

 private:
  VerbsLease(std::unique_ptr<ControlConnection> control, std::shared_ptr<LocalMemories> memories);

  const std::shared_ptr<LocalMemories> memories_;
  std::unique_ptr<ControlConnection> control_;
};

}  // namespace rram
