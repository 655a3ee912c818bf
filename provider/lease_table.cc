#include "provider/lease_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <ranges>
#include <utility>

#include "base/size_text.h"
#include "rdma/session/preshared_key.h"

namespace rram {

namespace {

// A grace time that ends within this is worth waiting for; a longer one is not.
constexpr std::uint64_t kWorthWaitingMs = 5'000;
// How soon a requester asks again while memory is being zeroed or pinned.
constexpr std::uint64_t kShortestRetryMs = 50;
constexpr std::uint64_t kLongestRetryMs = 1'000;

}  // namespace

std::size_t LeaseTable::IdHash::operator()(const LeaseId& id) const {
  // The identities are random numbers of our own making; a part of one is a hash.
  std::size_t hash = 0;
  std::memcpy(&hash, id.data(), sizeof hash);
  return hash;
}

LeaseTable::LeaseTable(const LeaseTableOptions& options)
    : options_(options),
      segments_(options.segment_count,
                options.starts_unpinned ? SegmentState::kUnpinned : SegmentState::kFree),
      free_segments_(options.starts_unpinned ? 0 : options.segment_count) {}

void LeaseTable::pinned(std::uint32_t segment) {
  assert(segments_[segment] == SegmentState::kUnpinned);
  segments_[segment] = SegmentState::kFree;
  ++free_segments_;
}

PinningEnd LeaseTable::end_pinning() {
  PinningEnd end;
  end.goes_on = has_lent_;
  is_closed_ = !has_lent_;
  for (std::uint32_t i = 0; i < segments_.size(); ++i) {
    if (segments_[i] != SegmentState::kUnpinned) continue;
    segments_[i] = SegmentState::kLost;
    end.lost.push_back(i);
  }
  return end;
}

LeaseAnswer LeaseTable::grant(LeaseWish wish, std::uint64_t now_ms) {
  if (is_closed_) {
    return Error{ErrorCode::kUnavailable,
                 "this provider could not pin its memory and is ending; its own message says why"};
  }
  const bool wants_all = wish.wanted_bytes == 0;
  const std::uint64_t wanted_segments = wish.wanted_bytes / options_.segment_bytes +
                                        (wish.wanted_bytes % options_.segment_bytes == 0 ? 0 : 1);
  const LeaseMustWait coming = waiting_for_memory(now_ms);
  const std::uint64_t coming_segments = coming.reclaiming_bytes / options_.segment_bytes;
  const bool is_enough =
      wants_all ? free_segments_ > 0 && coming_segments == 0 : wanted_segments <= free_segments_;
  if (!is_enough) {
    const bool waiting_helps =
        wants_all ? coming_segments > 0 : wanted_segments <= free_segments_ + coming_segments;
    if (waiting_helps) return coming;
    return no_space(wish.wanted_bytes);
  }
  if (std::optional<Error> refusal = too_many_leases(wish.host)) return *std::move(refusal);
  Lease lease;
  lease.token = wish.token;
  lease.requester = std::move(wish.requester);
  lease.host = std::move(wish.host);
  lease.descriptors_passed = wish.pass_descriptors;
  lease.control = wish.control;
  lease.segments = take_segments(wants_all ? free_segments_ : wanted_segments);
  has_lent_ = true;
  LeaseView view{lease.segments, std::nullopt};
  const bool is_new = leases_.emplace(wish.id, std::move(lease)).second;
  assert(is_new);
  static_cast<void>(is_new);
  return view;
}

std::optional<Error> LeaseTable::too_many_leases(const std::string& host) const {
  if (leases_.size() >= options_.max_leases) {
    return Error{ErrorCode::kUnavailable,
                 fmt::format("this provider serves no more than {} leases", options_.max_leases)};
  }
  const auto of_host =
      std::ranges::count_if(leases_, [&](const auto& one) { return one.second.host == host; });
  if (std::cmp_less(of_host, options_.max_leases_per_host)) return std::nullopt;
  return Error{
      ErrorCode::kUnavailable,
      fmt::format("this provider gives no more than {} leases to one host, and {} has them "
                  "already: unmount one there",
                  options_.max_leases_per_host, host)};
}

std::vector<std::uint32_t> LeaseTable::take_segments(std::uint64_t count) {
  assert(count <= free_segments_);
  std::vector<std::uint32_t> taken;
  taken.reserve(count);
  for (std::uint32_t i = 0; taken.size() < count; ++i) {
    if (segments_[i] != SegmentState::kFree) continue;
    segments_[i] = SegmentState::kLeased;
    taken.push_back(i);
  }
  free_segments_ -= count;
  return taken;
}

// What is being pinned or scrubbed, and what soon will be: leases of requesters that closed
// everything.
LeaseMustWait LeaseTable::waiting_for_memory(std::uint64_t now_ms) const {
  LeaseMustWait waiting;
  waiting.reclaiming_bytes =
      bytes_in(SegmentState::kReclaiming) + bytes_in(SegmentState::kUnpinned);
  std::uint64_t retry_ms = waiting.reclaiming_bytes > 0 ? kShortestRetryMs : kLongestRetryMs;
  for (const auto& [id, lease] : leases_) {
    if (lease.is_over || !lease.grace_ends_ms) continue;
    const std::uint64_t left_ms = *lease.grace_ends_ms - std::min(*lease.grace_ends_ms, now_ms);
    if (left_ms > kWorthWaitingMs) continue;
    waiting.reclaiming_bytes += lease.segments.size() * options_.segment_bytes;
    retry_ms = std::min(retry_ms, left_ms);
  }
  waiting.retry_ms =
      static_cast<std::uint32_t>(std::clamp(retry_ms, kShortestRetryMs, kLongestRetryMs));
  return waiting;
}

Error LeaseTable::no_space(std::uint64_t wanted_bytes) const {
  const LeaseTotals now = totals();
  const std::uint64_t pool_bytes =
      options_.segment_count * options_.segment_bytes - bytes_in(SegmentState::kLost);
  const std::string wanted = wanted_bytes == 0 ? "memory was" : size_text(wanted_bytes) + " were";
  return {ErrorCode::kNoSpace,
          fmt::format("{} asked for; of the pool of {}, {} are free, {} leased, and {} still being "
                      "made ready",
                      wanted, size_text(pool_bytes), size_text(now.free_bytes),
                      size_text(now.leased_bytes),
                      size_text(now.reclaiming_bytes + now.unpinned_bytes))};
}

LeaseTable::Lease* LeaseTable::find(const LeaseId& id, const LeaseToken& token) {
  const auto found = leases_.find(id);
  if (found == leases_.end() || found->second.is_over) return nullptr;
  return same_secret(found->second.token, token) ? &found->second : nullptr;
}

Result<LeaseView> LeaseTable::attach_control(const LeaseId& id, const LeaseToken& token,
                                             ConnectionId connection) {
  Lease* lease = find(id, token);
  if (lease == nullptr) return fail(ErrorCode::kLost, "there is no such lease");
  LeaseView view{lease->segments, lease->control};
  // The replaced one may still be sending; the lease is not fenced before it has ended.
  if (lease->control) lease->others.push_back({*lease->control, 0});
  lease->control = connection;
  lease->grace_ends_ms.reset();
  return view;
}

Result<LeaseView> LeaseTable::attach_data(const LeaseId& id, const LeaseToken& token,
                                          std::uint64_t lane, ConnectionId connection) {
  Lease* lease = find(id, token);
  if (lease == nullptr) return fail(ErrorCode::kLost, "there is no such lease");
  // The last of its lane; those before it have been replaced already.
  const auto formers = lease->others | std::views::reverse;
  const auto former = std::ranges::find(formers, lane, &Other::lane);
  const bool has_former = former != formers.end();
  if (!has_former && lease->others.size() >= options_.max_connections_per_lease) {
    return fail(ErrorCode::kUnavailable, fmt::format("a lease has no more than {} data connections",
                                                     options_.max_connections_per_lease));
  }
  LeaseView view{lease->segments, std::nullopt};
  if (has_former) view.replaced = former->connection;
  lease->others.push_back({connection, lane});
  return view;
}

bool LeaseTable::is_alone_in_lane(const LeaseId& id, ConnectionId connection) const {
  const auto found = leases_.find(id);
  if (found == leases_.end()) return true;
  const std::vector<Other>& others = found->second.others;
  const auto own = std::ranges::find(others, connection, &Other::connection);
  return own == others.end() || std::ranges::count(others, own->lane, &Other::lane) == 1;
}

void LeaseTable::detach(const LeaseId& id, ConnectionId connection, Departure departure,
                        std::uint64_t now_ms) {
  const auto found = leases_.find(id);
  if (found == leases_.end()) return;
  Lease& lease = found->second;
  const bool was_control = lease.control == connection;
  if (was_control) {
    lease.control.reset();
  } else if (std::erase_if(lease.others, [connection](const Other& other) {
               return other.connection == connection;
             }) == 0) {
    return;
  }
  if (lease.is_over) return fence_if_idle(id);
  // Closed, and nothing of it left: the requester is gone. Closed with lanes alive, or silent: a
  // network that may heal.
  const bool is_gone = departure == Departure::kClosed && lease.others.empty();
  if (was_control) {
    lease.grace_ends_ms = now_ms + (is_gone ? options_.grace_ms : options_.silent_grace_ms);
  } else if (is_gone && lease.grace_ends_ms) {
    lease.grace_ends_ms = std::min(*lease.grace_ends_ms, now_ms + options_.grace_ms);
  }
}

std::optional<EndedLease> LeaseTable::release(const LeaseId& id, ConnectionId control) {
  const auto found = leases_.find(id);
  if (found == leases_.end() || found->second.control != control) return std::nullopt;
  found->second.control.reset();
  found->second.releasing = control;
  return end(id, found->second);
}

std::vector<EndedLease> LeaseTable::expire(std::uint64_t now_ms) {
  std::vector<LeaseId> overdue;
  for (const auto& [id, lease] : leases_) {
    if (!lease.is_over && lease.grace_ends_ms && *lease.grace_ends_ms <= now_ms) {
      overdue.push_back(id);
    }
  }
  std::vector<EndedLease> ended;
  ended.reserve(overdue.size());
  for (const LeaseId& id : overdue) ended.push_back(end(id, leases_.at(id)));
  return ended;
}

// `lease` may be gone when this returns.
EndedLease LeaseTable::end(const LeaseId& id, Lease& lease) {
  assert(!lease.is_over && !lease.control);
  const LeaseId ended_id = id;  // `id` may lie in the map that is about to change
  lease.is_over = true;
  lease.grace_ends_ms.reset();
  for (const std::uint32_t segment : lease.segments) {
    segments_[segment] = SegmentState::kReclaiming;
  }
  EndedLease ended{ended_id, lease.requester, lease.segments.size() * options_.segment_bytes, {}};
  ended.connections.reserve(lease.others.size());
  for (const Other& other : lease.others) ended.connections.push_back(other.connection);
  fence_if_idle(ended_id);
  return ended;
}

void LeaseTable::fence_if_idle(const LeaseId& id) {
  const auto found = leases_.find(id);
  Lease& lease = found->second;
  if (lease.control || !lease.others.empty()) return;
  fenced_.push_back({id, std::move(lease.segments), lease.descriptors_passed, lease.releasing});
  leases_.erase(found);
}

std::vector<FencedLease> LeaseTable::take_fenced() { return std::exchange(fenced_, {}); }

void LeaseTable::scrubbed(std::uint32_t segment) {
  assert(segments_[segment] == SegmentState::kReclaiming);
  segments_[segment] = SegmentState::kFree;
  ++free_segments_;
}

std::uint64_t LeaseTable::bytes_in(SegmentState state) const {
  return static_cast<std::uint64_t>(std::ranges::count(segments_, state)) * options_.segment_bytes;
}

LeaseTotals LeaseTable::totals() const {
  LeaseTotals totals;
  totals.leased_bytes = bytes_in(SegmentState::kLeased);
  totals.free_bytes = bytes_in(SegmentState::kFree);
  totals.reclaiming_bytes = bytes_in(SegmentState::kReclaiming);
  totals.unpinned_bytes = bytes_in(SegmentState::kUnpinned);
  for (const auto& [id, lease] : leases_) {
    if (lease.is_over) continue;
    ++totals.leases;
    totals.connections += lease.others.size() + (lease.control ? 1 : 0);
  }
  return totals;
}

std::vector<std::string> LeaseTable::requesters() const {
  std::vector<std::string> names;
  for (const auto& [id, lease] : leases_) {
    if (!lease.is_over) names.push_back(lease.requester);
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace rram
