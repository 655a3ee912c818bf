#include "rdma/tcp/tcp_lease.h"

#include "rdma/control/socket_channel.h"
#include "rdma/control/socket_dialer.h"
#include "rdma/tcp/tcp_lane.h"

namespace rram {

Task<Result<std::unique_ptr<HeldLease>>> TcpLease::take(EventLoop& loop, Endpoint endpoint,
                                                        LeaseOptions options) {
  Result<std::unique_ptr<ControlConnection>> control = co_await ControlConnection::open(
      loop, std::make_unique<SocketDialer>(std::move(endpoint)), std::move(options), false);
  if (!control) co_return std::unexpected(control.error());
  co_return std::unique_ptr<HeldLease>(new TcpLease(std::move(*control)));
}

TcpLease::TcpLease(std::unique_ptr<ControlConnection> control) : control_(std::move(control)) {
  control_->set_on_ended([this](const Error& reason) { note_disconnected(reason); });
}

Task<Result<std::unique_ptr<Lane>>> TcpLease::open_lane(EventLoop& loop, std::uint64_t timeout_ms) {
  Result<std::unique_ptr<ByteChannel>> channel = co_await control_->open_data(loop, timeout_ms);
  if (!channel) co_return std::unexpected(channel.error());
  UniqueFd socket = static_cast<SocketChannel&>(**channel).take_socket();
  co_return std::make_unique<TcpLane>(loop, std::move(socket), control_->provider_text());
}

Task<Status> TcpLease::reconnect(std::uint64_t timeout_ms) {
  return control_->reconnect(timeout_ms);
}

Task<> TcpLease::release(std::uint64_t timeout_ms) { return control_->release(timeout_ms); }

}  // namespace rram
