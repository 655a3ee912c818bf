#include "rdma/control/control_connection.h"

#include <fmt/format.h>

#include <cassert>
#include <utility>

#include "rdma/wire/text.h"

namespace rram {

namespace {

constexpr std::uint64_t kNsPerMs = 1'000'000;

std::vector<RemoteRegion> regions_from(const std::vector<RegionEntry>& entries) {
  std::vector<RemoteRegion> regions;
  regions.reserve(entries.size());
  for (const RegionEntry& entry : entries) {
    const auto index = static_cast<std::uint32_t>(regions.size());
    regions.push_back({index, entry.length, entry.base, entry.key});
  }
  return regions;
}

}  // namespace

Task<Result<std::unique_ptr<ControlConnection>>> ControlConnection::open(
    EventLoop& loop, std::unique_ptr<Dialer> dialer, LeaseOptions options, bool descriptors) {
  std::unique_ptr<ControlConnection> control(
      new ControlConnection(loop, std::move(dialer), std::move(options)));
  const Status status = co_await control->take_lease(descriptors);
  if (!status) co_return std::unexpected(status.error());
  co_return std::move(control);
}

ControlConnection::~ControlConnection() {
  assert(driver_ == nullptr || is_ending_);
  *alive_ = false;
}

Task<Status> ControlConnection::take_lease(bool descriptors) {
  const std::uint64_t deadline_ns = loop_.now_ns() + options_.timeout_ms * kNsPerMs;
  Result<std::unique_ptr<ByteChannel>> channel =
      co_await dialer_->dial(loop_, std::nullopt, deadline_ns);
  if (!channel) co_return std::unexpected(channel.error());
  const TakeLease goal{options_.wanted_bytes, descriptors};
  driver_ = std::make_unique<SessionDriver>(
      loop_, std::move(*channel), session_options(Role::kControl, goal, options_.timeout_ms));
  Result<Established> established = co_await driver_->establish(deadline_ns);
  if (!established) {
    driver_.reset();
    co_return std::unexpected(established.error());
  }
  joining_ = {established->terms, established->provider.incarnation};
  provider_text_ = fmt::format("{} ({})", endpoint_text(dialer_->endpoint()),
                               name_view(established->provider.name));
  regions_ = regions_from(established->regions);
  descriptors_ = std::move(established->descriptors);
  watch_driver();
  co_return Status{};
}

RequesterSessionOptions ControlConnection::session_options(Role role, RequesterGoal goal,
                                                           std::uint64_t timeout_ms) const {
  RequesterSessionOptions options;
  options.requester_name = options_.requester_name;
  options.provider_text = endpoint_text(dialer_->endpoint());
  options.role = role;
  options.goal = std::move(goal);
  options.key = options_.key;
  options.can_take_descriptors =
      role == Role::kControl && dialer_->endpoint().scheme == Endpoint::Scheme::kUnix;
  options.reply_limit_ms = timeout_ms;
  return options;
}

void ControlConnection::watch_driver() {
  driver_->keep_alive([this](const Error& reason) { on_driver_ended(reason); },
                      [this](std::uint64_t valid_until_ms) {
                        if (!is_ending_ && on_confirmed_) on_confirmed_(valid_until_ms);
                      });
}

void ControlConnection::on_driver_ended(const Error& reason) {
  if (is_ending_) return;
  // From the loop, not from inside the driver: the handler may replace it.
  loop_.post([this, reason, alive = alive_] {
    if (*alive && !is_ending_ && on_ended_) on_ended_(reason);
  });
}

Task<Status> ControlConnection::reconnect(std::uint64_t timeout_ms) {
  const std::uint64_t deadline_ns = loop_.now_ns() + timeout_ms * kNsPerMs;
  is_ending_ = true;
  if (driver_) {
    co_await driver_->end();
    driver_.reset();
  }
  Result<std::unique_ptr<ByteChannel>> channel =
      co_await dialer_->dial(loop_, std::nullopt, deadline_ns);
  if (!channel) co_return std::unexpected(channel.error());
  driver_ = std::make_unique<SessionDriver>(loop_, std::move(*channel),
                                            session_options(Role::kControl, joining_, timeout_ms));
  const Result<Established> established = co_await driver_->establish(deadline_ns);
  if (!established) {
    driver_.reset();
    co_return std::unexpected(established.error());
  }
  is_ending_ = false;
  watch_driver();
  co_return Status{};
}

Task<> ControlConnection::release(std::uint64_t timeout_ms) {
  is_ending_ = true;
  if (!driver_) co_return;
  co_await driver_->release(loop_.now_ns() + timeout_ms * kNsPerMs);
  driver_.reset();
}

Task<Result<std::unique_ptr<ByteChannel>>> ControlConnection::open_data(
    EventLoop& loop, std::uint64_t timeout_ms) const {
  const std::uint64_t deadline_ns = loop.now_ns() + timeout_ms * kNsPerMs;
  Result<std::unique_ptr<ByteChannel>> channel =
      co_await dialer_->dial(loop, joining_.terms.lease_id, deadline_ns);
  if (!channel) co_return std::unexpected(channel.error());
  SessionDriver driver(loop, std::move(*channel),
                       session_options(Role::kData, joining_, timeout_ms));
  const Result<Established> established = co_await driver.establish(deadline_ns);
  if (!established) co_return std::unexpected(established.error());
  co_return driver.take_channel();
}

}  // namespace rram
