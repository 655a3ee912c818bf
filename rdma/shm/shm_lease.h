// A lease from a provider on this host, whose memory is mapped here: its data goes by memcpy, its
// control connection is a Unix socket.
#pragma once

#include <memory>
#include <mutex>
#include <string_view>

#include "rdma/control/controlled_lease.h"
#include "rdma/shm/provider_life.h"
#include "rdma/shm/segment_map.h"

namespace rram {

class ShmLease final : public ControlledLease {
 public:
  // `endpoint`: kUnix. kRefused, among other reasons, if the provider does not share its memory.
  static Task<Result<std::unique_ptr<HeldLease>>> take(EventLoop& loop, Endpoint endpoint,
                                                       LeaseOptions options);

  [[nodiscard]] std::string_view transport_name() const override { return "shm"; }
  Task<Result<std::unique_ptr<Lane>>> open_lane(EventLoop& loop, std::uint64_t lane,
                                                TimeLimit limit) override;
  Task<Status> reconnect(std::uint64_t timeout_ms) override;
  Task<> release(std::uint64_t timeout_ms) override;

 private:
  ShmLease(std::unique_ptr<ControlConnection> control, std::shared_ptr<const SegmentMap> segments);
  std::shared_ptr<ProviderLife> life();
  void begin_life();
  void on_control_ended(const Error& reason) override { life()->end(reason); }

  const std::shared_ptr<const SegmentMap> segments_;
  std::mutex life_mutex_;  // guards life_, which open_lane() reads on other threads; a leaf
  std::shared_ptr<ProviderLife> life_;
};

}  // namespace rram
