#include "rdma/shm/shm_lease.h"

#include <fmt/format.h>

#include <utility>

#include "rdma/control/socket_dialer.h"
#include "rdma/shm/shm_lane.h"

namespace rram {

Task<Result<std::unique_ptr<HeldLease>>> ShmLease::take(EventLoop& loop, Endpoint endpoint,
                                                        LeaseOptions options) {
  const std::uint64_t timeout_ms = options.timeout_ms;
  Result<std::unique_ptr<ControlConnection>> control =
      co_await ControlConnection::open(loop, std::make_unique<SocketDialer>(std::move(endpoint)),
                                       std::move(options), MemoryNames::kDescriptors);
  if (!control) co_return std::unexpected(control.error());
  const std::uint64_t region_bytes = (*control)->regions().front().length_bytes;
  Result<std::shared_ptr<const SegmentMap>> segments =
      SegmentMap::create((*control)->take_descriptors(), region_bytes);
  if (!segments) {
    co_await (*control)->release(timeout_ms);
    co_return fail(segments.error().code,
                   fmt::format("{}: {}", (*control)->provider_text(), segments.error().message));
  }
  co_return std::unique_ptr<HeldLease>(new ShmLease(std::move(*control), std::move(*segments)));
}

ShmLease::ShmLease(std::unique_ptr<ControlConnection> control,
                   std::shared_ptr<const SegmentMap> segments)
    : ControlledLease(std::move(control)), segments_(std::move(segments)) {
  begin_life();
  this->control().set_on_confirmed([this](std::uint64_t valid_until_ms) {
    const std::shared_ptr<ProviderLife> provider_life = life();
    if (!provider_life->is_over()) provider_life->confirm(valid_until_ms);
  });
}

std::shared_ptr<ProviderLife> ShmLease::life() {
  const std::lock_guard lock(life_mutex_);
  return life_;
}

void ShmLease::begin_life() {
  auto fresh = std::make_shared<ProviderLife>();
  fresh->confirm(control().lease_valid_until_ms());
  const std::lock_guard lock(life_mutex_);
  life_ = std::move(fresh);
}

Task<Result<std::unique_ptr<Lane>>> ShmLease::open_lane(EventLoop& loop, std::uint64_t /*lane*/,
                                                        TimeLimit /*limit*/) {
  std::shared_ptr<ProviderLife> provider_life = life();
  if (provider_life->is_over()) {
    co_return fail(ErrorCode::kDisconnected, provider_life->reason().message);
  }
  if (!provider_life->is_confirmed()) {
    co_return fail(
        ErrorCode::kDisconnected,
        fmt::format("{}: the provider has not confirmed the lease for too long", provider_text()));
  }
  co_return std::make_unique<ShmLane>(loop, segments_, std::move(provider_life));
}

Task<Status> ShmLease::reconnect(std::uint64_t timeout_ms) {
  // Lanes of the old connection stay broken, whatever becomes of the new one.
  life()->end({ErrorCode::kDisconnected,
               fmt::format("{}: the control connection is made anew", provider_text())});
  Status status = co_await ControlledLease::reconnect(timeout_ms);
  if (status) begin_life();
  co_return status;
}

Task<> ShmLease::release(std::uint64_t timeout_ms) {
  life()->end(
      {ErrorCode::kCancelled, fmt::format("{}: the lease was given back", provider_text())});
  co_await ControlledLease::release(timeout_ms);
}

}  // namespace rram
