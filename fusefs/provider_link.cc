#include "fusefs/provider_link.h"

#include <algorithm>
#include <utility>

#include "base/backoff.h"
#include "fusefs/mounted_provider.h"

namespace rram {

ProviderLink::ProviderLink(EventLoop& loop, MountedProvider& provider, std::uint64_t lane,
                           std::span<std::byte> arena)
    : loop_(loop), provider_(provider), lane_number_(lane), arena_(arena) {}

ProviderLink::~ProviderLink() = default;

const RemoteRegion& ProviderLink::region(std::uint32_t index) const {
  return provider_.lease().regions()[index];
}

void ProviderLink::submit(Operation& operation) {
  if (lane_ == nullptr) return Lane::refuse(operation, refusal_);
  lane_->submit(operation);
}

Task<Status> ProviderLink::open_lane(TimeLimit limit) {
  Result<std::unique_ptr<Lane>> lane =
      co_await provider_.lease().open_lane(loop_, lane_number_, limit);
  if (!lane) co_return std::unexpected(lane.error());
  if (Status announced = (*lane)->announce_arena(arena_); !announced) {
    co_await (*lane)->close();
    co_return announced;
  }
  lane_ = std::move(*lane);
  lane_->set_on_broken([this](const Error& reason) { on_lane_broken(reason); });
  co_return Status{};
}

Task<Status> ProviderLink::open(CallOff call_off) {
  return open_lane({provider_.timeout_ms(), kLongestMountMs, std::move(call_off)});
}

void ProviderLink::on_lane_broken(const Error& reason) {
  if (replacing_.is_closed() || lane_ == nullptr) return;
  provider_.report_link_down(reason);
  spawn(replacing_, replace_lane());
}

Task<> ProviderLink::replace_lane() {
  const std::unique_ptr<Lane> broken = std::exchange(lane_, nullptr);
  co_await broken->close();
  const std::uint64_t timeout_ms = std::min(provider_.timeout_ms(), kRetryTimeoutMs);
  Backoff backoff(kFirstRetryMs, kLastRetryMs);
  while (!replacing_.is_closed()) {
    const Status opened = co_await open_lane({timeout_ms});
    if (opened) {
      provider_.report_link_up();
      co_return;
    }
    if (opened.error().code == ErrorCode::kLost) {
      refusal_ = ErrorCode::kLost;
      provider_.report_lost(opened.error());
      co_return;
    }
    co_await backoff.pause(loop_, replacing_);
  }
}

Task<> ProviderLink::close() {
  co_await replacing_.close();
  if (lane_ == nullptr) co_return;
  lane_->set_on_broken({});
  co_await lane_->close();
  lane_.reset();
}

}  // namespace rram
