#include "provider/lease_keeper.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "base/event_loop.h"
#include "base/size_text.h"
#include "rdma/session/preshared_key.h"
#include "rdma/wire/codec.h"

namespace rram {

namespace {

// Five of these without a frame, and the requester counts as silent: ten seconds.
constexpr std::uint64_t kHeartbeatIntervalMs = 2'000;
constexpr unsigned kMaxScrubThreads = 4;

std::uint64_t now_ms() { return monotonic_ns() / 1'000'000; }

unsigned scrub_threads() {
  return std::clamp(std::thread::hardware_concurrency() / 2, 1U, kMaxScrubThreads);
}

std::uint32_t heartbeat_interval_ms(const LeaseTableOptions& options) {
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(std::min(kHeartbeatIntervalMs, options.grace_ms),
                                kMinHeartbeatIntervalMs, kMaxHeartbeatIntervalMs));
}

}  // namespace

LeaseKeeper::LeaseKeeper(Pool& pool, LeaseTableOptions options,
                         const std::shared_ptr<spdlog::logger>& log,
                         std::function<void(ConnectionId, ConnectionOrder)> tell,
                         std::function<void(const LeaseId&)> on_fenced)
    : pool_(pool),
      options_(options),
      log_(log),
      tell_(std::move(tell)),
      on_fenced_(std::move(on_fenced)),
      table_(options),
      scrubber_(pool, scrub_threads(), log,
                {[this](const FencedLease& lease) { revoke(lease); },
                 [this](std::uint32_t segment) { on_scrubbed(segment); }}) {}

void LeaseKeeper::pinned(std::uint32_t segment) {
  const std::lock_guard lock(mutex_);
  table_.pinned(segment);
}

PinningEnd LeaseKeeper::end_pinning() {
  const std::lock_guard lock(mutex_);
  return table_.end_pinning();
}

LeaseKeeper::Answer LeaseKeeper::grant(LeaseWish wish) {
  const Result<Bytes16> id = random_bytes16();
  if (!id) return id.error();
  const Result<Bytes16> token = random_bytes16();
  if (!token) return token.error();
  wish.id = *id;
  wish.token = *token;
  const std::string requester = wish.requester;
  const bool pass_descriptors = wish.pass_descriptors;
  LeaseAnswer answer = [&] {
    const std::lock_guard lock(mutex_);
    return table_.grant(std::move(wish), now_ms());
  }();
  if (auto* view = std::get_if<LeaseView>(&answer)) {
    log_->info("lease {} granted to {}: {}{}", id_text(*id), requester,
               size_text(view->segments.size() * pool_.segment_bytes()),
               pass_descriptors ? ", as shared memory" : "");
    const LeaseTerms terms = terms_of(*id, *token, view->segments.size());
    return HeldLeaseView{terms, std::move(view->segments)};
  }
  if (auto* wait = std::get_if<LeaseMustWait>(&answer)) return *wait;
  return std::get<Error>(std::move(answer));
}

LeaseTerms LeaseKeeper::terms_of(const LeaseId& id, const LeaseToken& token,
                                 std::size_t segment_count) const {
  LeaseTerms terms;
  terms.lease_id = id;
  terms.token = token;
  terms.region_bytes = pool_.segment_bytes();
  terms.region_count = static_cast<std::uint32_t>(segment_count);
  terms.heartbeat_interval_ms = heartbeat_interval_ms(options_);
  terms.grace_ms = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(
      options_.silent_grace_ms, terms.heartbeat_interval_ms, kMaxGraceMs));
  return terms;
}

Result<HeldLeaseView> LeaseKeeper::attach(const LeaseJoin& join) {
  const bool is_control = join.role == Role::kControl;
  Result<LeaseView> view = [&] {
    const std::lock_guard lock(mutex_);
    return is_control ? table_.attach_control(join.id, join.token, join.connection)
                      : table_.attach_data(join.id, join.token, join.lane, join.connection);
  }();
  if (!view) {
    log_->info("{} may not join lease {}: {}", join.peer, id_text(join.id), view.error().message);
    return std::unexpected(view.error());
  }
  if (is_control) log_->info("lease {} taken up again by {}", id_text(join.id), join.peer);
  if (view->replaced) {
    tell_(*view->replaced, {ConnectionOrder::Kind::kEnd, WireError::kReplaced,
                            is_control ? "a newer connection took this lease over"
                                       : "a newer connection took this lane's place"});
  }
  const LeaseTerms terms = terms_of(join.id, join.token, view->segments.size());
  return HeldLeaseView{terms, std::move(view->segments)};
}

bool LeaseKeeper::is_alone_in_lane(const LeaseId& id, ConnectionId connection) const {
  const std::lock_guard lock(mutex_);
  return table_.is_alone_in_lane(id, connection);
}

void LeaseKeeper::detach(const LeaseId& id, ConnectionId connection, Departure departure) {
  std::vector<FencedLease> fenced;
  {
    const std::lock_guard lock(mutex_);
    table_.detach(id, connection, departure, now_ms());
    fenced = table_.take_fenced();
  }
  scrubber_.push(std::move(fenced));
}

bool LeaseKeeper::release(const LeaseId& id, ConnectionId control) {
  std::vector<EndedLease> ended;
  std::vector<FencedLease> fenced;
  {
    const std::lock_guard lock(mutex_);
    if (std::optional<EndedLease> released = table_.release(id, control)) {
      ended.push_back(std::move(*released));
    }
    fenced = table_.take_fenced();
  }
  announce(ended, "released by its requester");
  scrubber_.push(std::move(fenced));
  return !ended.empty();
}

void LeaseKeeper::tick() {
  std::vector<EndedLease> ended;
  std::vector<FencedLease> fenced;
  {
    const std::lock_guard lock(mutex_);
    ended = table_.expire(now_ms());
    fenced = table_.take_fenced();
  }
  announce(ended, "its requester is gone and the grace time has passed");
  scrubber_.push(std::move(fenced));
}

void LeaseKeeper::announce(const std::vector<EndedLease>& ended, std::string_view why) {
  for (const EndedLease& lease : ended) {
    log_->info("lease {} of {} is over: {} come back ({})", id_text(lease.id), lease.requester,
               size_text(lease.size_bytes), why);
    for (const ConnectionId connection : lease.connections) {
      tell_(connection, {ConnectionOrder::Kind::kEnd, WireError::kLeaseOver, "the lease is over"});
    }
  }
}

// RELEASED says that nobody reaches the memory any more, so it comes after on_fenced_.
void LeaseKeeper::revoke(const FencedLease& lease) {
  on_fenced_(lease.id);
  if (lease.releasing) tell_(*lease.releasing, {ConnectionOrder::Kind::kReleased, {}, {}});
}

void LeaseKeeper::on_scrubbed(std::uint32_t segment) {
  const std::lock_guard lock(mutex_);
  table_.scrubbed(segment);
}

LeaseTotals LeaseKeeper::totals() const {
  const std::lock_guard lock(mutex_);
  return table_.totals();
}

std::vector<std::string> LeaseKeeper::requesters() const {
  const std::lock_guard lock(mutex_);
  return table_.requesters();
}

}  // namespace rram
