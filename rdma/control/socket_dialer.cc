#include "rdma/control/socket_dialer.h"

#include "rdma/control/socket_channel.h"

namespace rram {

Task<Result<std::unique_ptr<ByteChannel>>> SocketDialer::dial(EventLoop& loop,
                                                              std::optional<LeaseId> /*lease*/,
                                                              std::uint64_t deadline_ns) {
  std::vector<SocketAddress> addresses;
  if (address_) {
    addresses.push_back(*address_);
  } else {
    Result<std::vector<SocketAddress>> found = co_await resolve(loop, endpoint_, deadline_ns);
    if (!found) co_return std::unexpected(found.error());
    addresses = std::move(*found);
  }
  Result<Dialled> dialled = co_await rram::dial(loop, endpoint_, std::move(addresses), deadline_ns);
  if (!dialled) co_return std::unexpected(dialled.error());
  if (!address_) address_ = dialled->address;
  co_return std::make_unique<SocketChannel>(loop, std::move(dialled->socket));
}

}  // namespace rram
