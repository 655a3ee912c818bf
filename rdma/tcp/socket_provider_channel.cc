#include "rdma/tcp/socket_provider_channel.h"

#include <utility>

#include "rdma/control/descriptor_passing.h"
#include "rdma/tcp/tcp_responder.h"

namespace rram {

Task<Status> SocketProviderChannel::send_with_descriptors(FrameBytes frame,
                                                          std::vector<int> descriptors) {
  return rram::send_with_descriptors(loop_, channel_.fd(), std::move(frame),
                                     std::move(descriptors));
}

Task<Status> SocketProviderChannel::prepare(LeaseId /*id*/,
                                            std::vector<std::span<std::byte>> /*regions*/) {
  co_return Status{};
}

Task<Result<std::vector<RegionEntry>>> SocketProviderChannel::join(
    LeaseId /*id*/, std::vector<std::span<std::byte>> /*regions*/,
    std::function<bool()> /*is_wanted*/) {
  co_return std::vector<RegionEntry>{};
}

std::unique_ptr<DataServer> SocketProviderChannel::make_data_server(
    std::vector<std::span<std::byte>> regions, DataCounters& counters) {
  return std::make_unique<TcpResponder>(loop_, channel_.fd(), channel_.records(),
                                        std::move(regions), counters);
}

}  // namespace rram
