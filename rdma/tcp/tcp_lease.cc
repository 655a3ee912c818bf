#include "rdma/tcp/tcp_lease.h"

#include <algorithm>
#include <cstdint>

#include "rdma/control/socket_channel.h"
#include "rdma/control/socket_dialer.h"

namespace rram {

namespace {

constexpr std::uint64_t kRenewalAttemptMs = 1'000;

}  // namespace

Task<Result<std::unique_ptr<HeldLease>>> TcpLease::take(EventLoop& loop, Endpoint endpoint,
                                                        LeaseOptions options) {
  Result<std::unique_ptr<ControlConnection>> control = co_await ControlConnection::open(
      loop, std::make_unique<SocketDialer>(std::move(endpoint)), options, MemoryNames::kNumbers);
  if (!control) co_return std::unexpected(control.error());
  co_return std::unique_ptr<HeldLease>(new TcpLease(std::move(*control), options));
}

Task<Result<std::unique_ptr<Lane>>> TcpLease::open_lane(EventLoop& loop, std::uint64_t lane,
                                                        TimeLimit limit) {
  Result<DataConnection> data = co_await control().open_data(loop, lane, limit);
  if (!data) co_return std::unexpected(data.error());
  auto& channel = static_cast<SocketChannel&>(*data->channel);
  Sealing sealing;
  sealing.records = channel.take_records();
  sealing.records_before_renewal = records_before_renewal_;
  // Operations wait for it, and so does close(). What fails is tried again for patience_ms.
  const TimeLimit renewal_limit{std::min(limit.timeout_ms, kRenewalAttemptMs)};
  sealing.patience_ms = timeout_ms_;
  sealing.reopen = [=, this, &loop] { return open_sealed(loop, lane, renewal_limit); };
  co_return std::make_unique<TcpLane>(loop, channel.take_socket(), provider_text(),
                                      std::move(data->identity), std::move(sealing));
}

// In the place of this lease's lane of that number, which is closed already.
Task<Result<SealedConnection>> TcpLease::open_sealed(EventLoop& loop, std::uint64_t lane,
                                                     TimeLimit limit) {
  Result<DataConnection> data = co_await control().open_data(loop, lane, limit);
  if (!data) co_return std::unexpected(data.error());
  auto& channel = static_cast<SocketChannel&>(*data->channel);
  co_return SealedConnection{channel.take_socket(), channel.take_records()};
}

}  // namespace rram
