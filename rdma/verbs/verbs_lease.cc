#include "rdma/verbs/verbs_lease.h"

#include "rdma/verbs/verbs_channel.h"
#include "rdma/verbs/verbs_lane.h"

namespace rram {

Task<Result<std::unique_ptr<HeldLease>>> VerbsLease::take(EventLoop& loop, Endpoint endpoint,
                                                          LeaseOptions options) {
  std::shared_ptr<LocalMemories> memories = options.rdma_memories;
  if (!memories) memories = std::make_shared<LocalMemories>();
  auto dialer = std::make_unique<VerbsDialer>(std::move(endpoint), options.rdma_device, memories);
  Result<std::unique_ptr<ControlConnection>> control =
      co_await ControlConnection::open(loop, std::move(dialer), std::move(options), false);
  if (!control) co_return std::unexpected(control.error());
  co_return std::unique_ptr<HeldLease>(new VerbsLease(std::move(*control), std::move(memories)));
}

VerbsLease::VerbsLease(std::unique_ptr<ControlConnection> control,
                       std::shared_ptr<LocalMemories> memories)
    : memories_(std::move(memories)), control_(std::move(control)) {
  control_->set_on_ended([this](const Error& reason) { note_disconnected(reason); });
}

Task<Result<std::unique_ptr<Lane>>> VerbsLease::open_lane(EventLoop& loop,
                                                          std::uint64_t timeout_ms) {
  Result<std::unique_ptr<ByteChannel>> opened = co_await control_->open_data(loop, timeout_ms);
  if (!opened) co_return std::unexpected(opened.error());
  std::unique_ptr<VerbsChannel> channel(static_cast<VerbsChannel*>(opened->release()));
  Result<std::shared_ptr<LocalMemory>> memory = memories_->of(*channel->endpoint().id()->verbs);
  if (!memory) {
    co_await channel->close();
    co_return std::unexpected(memory.error());
  }
  co_return std::make_unique<VerbsLane>(loop, std::move(channel), std::move(*memory),
                                        control_->provider_text());
}

Task<Status> VerbsLease::reconnect(std::uint64_t timeout_ms) {
  return control_->reconnect(timeout_ms);
}

Task<> VerbsLease::release(std::uint64_t timeout_ms) { return control_->release(timeout_ms); }

}  // namespace rram
