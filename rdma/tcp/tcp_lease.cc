#include "rdma/tcp/tcp_lease.h"

#include "rdma/control/socket_channel.h"
#include "rdma/control/socket_dialer.h"
#include "rdma/tcp/tcp_lane.h"

namespace rram {

Task<Result<std::unique_ptr<HeldLease>>> TcpLease::take(EventLoop& loop, Endpoint endpoint,
                                                        LeaseOptions options) {
  Result<std::unique_ptr<ControlConnection>> control =
      co_await ControlConnection::open(loop, std::make_unique<SocketDialer>(std::move(endpoint)),
                                       std::move(options), MemoryNames::kNumbers);
  if (!control) co_return std::unexpected(control.error());
  co_return std::unique_ptr<HeldLease>(new TcpLease(std::move(*control)));
}

Task<Result<std::unique_ptr<Lane>>> TcpLease::open_lane(EventLoop& loop, std::uint64_t lane,
                                                        TimeLimit limit) {
  Result<DataConnection> data = co_await control().open_data(loop, lane, limit);
  if (!data) co_return std::unexpected(data.error());
  UniqueFd socket = static_cast<SocketChannel&>(*data->channel).take_socket();
  co_return std::make_unique<TcpLane>(loop, std::move(socket), provider_text(),
                                      std::move(data->identity));
}

}  // namespace rram
