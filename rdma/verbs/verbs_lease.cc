#include "rdma/verbs/verbs_lease.h"

#include "rdma/verbs/verbs_channel.h"
#include "rdma/verbs/verbs_lane.h"

namespace rram {

Task<Result<std::unique_ptr<HeldLease>>> VerbsLease::take(EventLoop& loop, Endpoint endpoint,
                                                          LeaseOptions options) {
  std::shared_ptr<LocalMemories> memories = options.rdma_memories;
  if (!memories) memories = std::make_shared<LocalMemories>();
  auto dialer = std::make_unique<VerbsDialer>(std::move(endpoint), options.rdma_device, memories);
  Result<std::unique_ptr<ControlConnection>> control = co_await ControlConnection::open(
      loop, std::move(dialer), std::move(options), MemoryNames::kKeys);
  if (!control) co_return std::unexpected(control.error());
  co_return std::unique_ptr<HeldLease>(new VerbsLease(std::move(*control), std::move(memories)));
}

Task<Result<std::unique_ptr<Lane>>> VerbsLease::open_lane(EventLoop& loop, std::uint64_t lane,
                                                          TimeLimit limit) {
  Result<DataConnection> data = co_await control().open_data(loop, lane, limit);
  if (!data) co_return std::unexpected(data.error());
  std::unique_ptr<VerbsChannel> channel(static_cast<VerbsChannel*>(data->channel.release()));
  Result<std::shared_ptr<LocalMemory>> memory = memories_->of(*channel->endpoint().id()->verbs);
  if (!memory) {
    co_await channel->close();
    co_return std::unexpected(memory.error());
  }
  co_return std::make_unique<VerbsLane>(loop, std::move(channel), std::move(*memory),
                                        std::move(data->regions), provider_text(),
                                        std::move(data->identity));
}

}  // namespace rram
