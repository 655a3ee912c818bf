#include "rdma/control/control_connection.h"

#include <fmt/format.h>

#include <cassert>
#include <utility>

#include "rdma/wire/text.h"

namespace rram {

namespace {

constexpr std::uint64_t kNsPerMs = 1'000'000;

std::vector<RemoteRegion> regions_of(const LeaseTerms& terms) {
  std::vector<RemoteRegion> regions(terms.region_count);
  for (std::uint32_t i = 0; i < terms.region_count; ++i) regions[i] = {i, terms.region_bytes};
  return regions;
}

}  // namespace

Task<Result<std::unique_ptr<ControlConnection>>> ControlConnection::open(
    EventLoop& loop, std::unique_ptr<Dialer> dialer, LeaseOptions options, MemoryNames names) {
  std::unique_ptr<ControlConnection> control(
      new ControlConnection(loop, std::move(dialer), std::move(options), names));
  const Status status = co_await control->take_lease();
  if (!status) co_return std::unexpected(status.error());
  co_return std::move(control);
}

ControlConnection::~ControlConnection() {
  assert(driver_ == nullptr || is_ending_);
  *alive_ = false;
}

Task<Status> ControlConnection::take_lease() {
  const std::uint64_t deadline_ns = loop_.now_ns() + options_.timeout_ms * kNsPerMs;
  const std::uint64_t longest_ns = loop_.now_ns() + options_.longest_ms * kNsPerMs;
  Result<std::unique_ptr<ByteChannel>> channel =
      co_await dialer_->dial(loop_, std::nullopt, deadline_ns);
  if (!channel) co_return std::unexpected(channel.error());
  const TakeLease goal{options_.wanted_bytes, names_ == MemoryNames::kDescriptors};
  driver_ = std::make_unique<SessionDriver>(
      loop_, std::move(*channel), session_options(Role::kControl, goal, options_.timeout_ms));
  Result<Established> established =
      co_await driver_->establish(deadline_ns, longest_ns, options_.call_off);
  if (!established) {
    driver_.reset();
    co_return std::unexpected(established.error());
  }
  joining_ = {established->terms, established->provider.incarnation};
  provider_text_ = fmt::format("{} ({})", endpoint_text(dialer_->endpoint()),
                               name_view(established->provider.name));
  regions_ = regions_of(established->terms);
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
  options.wants_records = options_.tls;
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
  const Result<Established> established = co_await driver_->establish(deadline_ns, deadline_ns, {});
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

Task<Result<DataConnection>> ControlConnection::open_data(EventLoop& loop, std::uint64_t lane,
                                                          TimeLimit limit) const {
  const std::uint64_t deadline_ns = loop.now_ns() + limit.timeout_ms * kNsPerMs;
  const std::uint64_t longest_ns = loop.now_ns() + limit.longest_ms * kNsPerMs;
  Result<std::unique_ptr<ByteChannel>> channel =
      co_await dialer_->dial(loop, joining_.terms.lease_id, deadline_ns);
  if (!channel) co_return std::unexpected(channel.error());
  JoinLease joining = joining_;
  joining.lane = lane;
  joining.wants_regions = names_ == MemoryNames::kKeys;
  SessionDriver driver(loop, std::move(*channel),
                       session_options(Role::kData, std::move(joining), limit.timeout_ms));
  Result<Established> established =
      co_await driver.establish(deadline_ns, longest_ns, limit.call_off);
  if (!established) co_return std::unexpected(established.error());
  fence_->lower(lane);
  co_return DataConnection{driver.take_channel(), {lane, fence_}, std::move(established->regions)};
}

}  // namespace rram
