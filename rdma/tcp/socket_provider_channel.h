// The provider's end of a connection over a stream socket, TCP or Unix.
#pragma once

#include "base/event_loop.h"
#include "rdma/control/provider_channel.h"
#include "rdma/control/socket_channel.h"

namespace rram {

class SocketProviderChannel final : public ProviderChannel {
 public:
  SocketProviderChannel(EventLoop& loop, UniqueFd socket)
      : loop_(loop), channel_(loop, std::move(socket)) {}

  [[nodiscard]] ByteChannel& bytes() override { return channel_; }
  Task<Status> send_with_descriptors(FrameBytes frame, std::vector<int> descriptors) override;
  // Over a socket a region is its number.
  Task<Status> prepare(LeaseId id, std::vector<std::span<std::byte>> regions) override;
  Task<Result<std::vector<RegionEntry>>> join(LeaseId id, std::vector<std::span<std::byte>> regions,
                                              std::function<bool()> is_wanted) override;
  std::unique_ptr<DataServer> make_data_server(std::vector<std::span<std::byte>> regions,
                                               DataCounters& counters) override;

 private:
  EventLoop& loop_;
  SocketChannel channel_;
};

}  // namespace rram
