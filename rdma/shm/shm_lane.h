// The lane of a ShmLease: memcpy inside submit(), as long as the provider lives.
#pragma once

#include <memory>
#include <string_view>

#include "rdma/shm/provider_life.h"
#include "rdma/shm/segment_map.h"
#include "rdma/transport.h"

namespace rram {

class ShmLane final : public Lane, private ProviderLife::Listener {
 public:
  ShmLane(EventLoop& loop, std::shared_ptr<const SegmentMap> segments,
          std::shared_ptr<ProviderLife> life);
  ~ShmLane() override;

  [[nodiscard]] std::string_view transport_name() const override { return "shm"; }
  Task<> close() override;

 private:
  void do_submit(Operation& operation) override;
  void on_provider_gone(const Error& reason) override;

  std::shared_ptr<const SegmentMap> segments_;
  std::shared_ptr<ProviderLife> life_;
};

}  // namespace rram
