#include "rdma/control/socket_dialer.h"

#include "rdma/control/socket_channel.h"

namespace rram {

Task<Result<std::unique_ptr<ByteChannel>>> SocketDialer::connect(EventLoop& loop, Endpoint endpoint,
                                                                 SocketAddress address,
                                                                 std::optional<LeaseId> /*lease*/,
                                                                 std::uint64_t deadline_ns) {
  Result<UniqueFd> socket =
      co_await connect_socket(loop, std::move(endpoint), address, deadline_ns);
  if (!socket) co_return std::unexpected(socket.error());
  co_return std::make_unique<SocketChannel>(loop, std::move(*socket));
}

}  // namespace rram
