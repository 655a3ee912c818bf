// A lease whose data goes by RDMA READ and WRITE straight between this process's buffers and the
// provider's memory.
#pragma once

#include <memory>
#include <string_view>
#include <utility>

#include "rdma/control/controlled_lease.h"
#include "rdma/verbs/verbs_dialer.h"

namespace rram {

class VerbsLease final : public ControlledLease {
 public:
  // `endpoint`: kVerbs.
  static Task<Result<std::unique_ptr<HeldLease>>> take(EventLoop& loop, Endpoint endpoint,
                                                       LeaseOptions options);

  [[nodiscard]] std::string_view transport_name() const override { return "verbs"; }
  Task<Result<std::unique_ptr<Lane>>> open_lane(EventLoop& loop, std::uint64_t lane,
                                                TimeLimit limit) override;

 private:
  VerbsLease(std::unique_ptr<ControlConnection> control, std::shared_ptr<LocalMemories> memories)
      : ControlledLease(std::move(control)), memories_(std::move(memories)) {}

  const std::shared_ptr<LocalMemories> memories_;
};

}  // namespace rram
