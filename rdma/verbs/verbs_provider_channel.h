// The provider's end of an RDMA connection. A data connection is made in the protection domain of
// the lease that it names, but may not touch memory before its session has proved that it belongs
// there.
#pragma once

#include <memory>

#include "rdma/control/provider_channel.h"
#include "rdma/verbs/lease_exports.h"
#include "rdma/verbs/verbs_channel.h"
#include "rdma/verbs/verbs_listener.h"

namespace rram {

class VerbsProviderChannel final : public ProviderChannel {
 public:
  // Accepts the request, on the thread of `loop`. `exports` outlives the channel.
  static Result<std::unique_ptr<VerbsProviderChannel>> accept(EventLoop& loop, VerbsRequest request,
                                                              LeaseExports& exports);

  [[nodiscard]] ByteChannel& bytes() override { return *channel_; }
  Task<Status> send_with_descriptors(FrameBytes frame, std::vector<int> descriptors) override;
  Task<Status> prepare(LeaseId id, std::vector<std::span<std::byte>> regions) override;
  Task<Result<std::vector<RegionEntry>>> join(LeaseId id, std::vector<std::span<std::byte>> regions,
                                              std::function<bool()> is_wanted) override;
  std::unique_ptr<DataServer> make_data_server(std::vector<std::span<std::byte>> regions,
                                               DataCounters& counters) override;

 private:
  VerbsProviderChannel(EventLoop& loop, std::unique_ptr<VerbsChannel> channel, LeaseId lease,
                       std::shared_ptr<LeaseExport> exported, LeaseExports& exports)
      : loop_(loop),
        channel_(std::move(channel)),
        lease_(lease),
        export_(std::move(exported)),
        exports_(exports) {}

  EventLoop& loop_;
  std::unique_ptr<VerbsChannel> channel_;
  const LeaseId lease_;                        // that a data connection named
  const std::shared_ptr<LeaseExport> export_;  // of that lease, if there is one: our domain
  LeaseExports& exports_;
};

}  // namespace rram
