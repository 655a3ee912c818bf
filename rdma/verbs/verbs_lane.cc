#include "rdma/verbs/verbs_lane.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <iterator>
#include <new>

namespace rram {

namespace {

// How often deadlines are looked at while Operations are in flight.
constexpr std::uint64_t kTickNs = kDeadlineCheckMs * 1'000'000 / 2;

// What an Operation in flight keeps in its scratch.
struct Progress {
  std::size_t posted_bytes = 0;
  std::uint32_t pieces_under_way = 0;
  bool has_failed = false;
};
static_assert(sizeof(Progress) <= sizeof(Operation::transport_scratch));

Progress& progress_of(Operation& operation) {
  return *std::launder(reinterpret_cast<Progress*>(operation.transport_scratch.data()));
}

std::size_t piece_limit(ibv_context& device, std::uint8_t port) {
  ibv_port_attr attributes{};
  const bool is_known = ibv_query_port(&device, port, &attributes) == 0;
  return is_known && attributes.max_msg_sz > 0
             ? std::min<std::size_t>(attributes.max_msg_sz, kMaxOperationBytes)
             : kMaxOperationBytes;
}

}  // namespace

VerbsLane::VerbsLane(EventLoop& loop, std::unique_ptr<VerbsChannel> channel,
                     std::shared_ptr<LocalMemory> memory, std::vector<RegionEntry> regions,
                     std::string peer, LaneIdentity identity)
    : Lane(loop, std::move(identity)),
      channel_(std::move(channel)),
      queue_pair_(channel_->queue_pair()),
      memory_(std::move(memory)),
      regions_(std::move(regions)),
      peer_(std::move(peer)),
      max_piece_bytes_(
          piece_limit(*channel_->endpoint().id()->verbs, channel_->endpoint().id()->port_num)) {
  channel_->set_on_ended([this](const Error& reason) { break_lane(in_peers_name(reason)); });
}

Error VerbsLane::in_peers_name(const Error& reason) const {
  return {reason.code, fmt::format("{}: {}", peer_, reason.message)};
}

VerbsLane::~VerbsLane() {
  assert(operations_.empty());
  if (tick_) loop().cancel_timer(*tick_);
  loop().forget(*this);
}

Status VerbsLane::announce_arena(std::span<std::byte> arena) {
  Result<std::shared_ptr<ibv_mr>> region = memory_->announce(arena);
  if (!region) return std::unexpected(region.error());
  arenas_.push_back({arena, std::move(*region)});
  return {};
}

std::optional<std::uint32_t> VerbsLane::key_of(std::span<const std::byte> bytes) const {
  for (const Arena& arena : arenas_) {
    const std::byte* end = arena.bytes.data() + arena.bytes.size();
    if (bytes.data() >= arena.bytes.data() && bytes.data() < end &&
        bytes.size() <= static_cast<std::size_t>(end - bytes.data())) {
      return arena.region->lkey;
    }
  }
  return std::nullopt;
}

// ---- posting -----------------------------------------------------------------------------------

void VerbsLane::do_submit(Operation& operation) {
  ::new (operation.transport_scratch.data()) Progress;
  operations_.push_back(operation);
  if (next_ == operations_.end()) next_ = std::prev(operations_.end());
  if (!tick_) tick_ = loop().call_at(loop().now_ns() + kTickNs, [this] { on_tick(); });
  loop().flush_later(*this);
}

// The end of a turn: everything that was submitted during it, as far as there is room.
void VerbsLane::flush() {
  while (next_ != operations_.end() && !is_broken() && queue_pair_.free_send_entries() > 0) {
    post_piece(*next_);
    if (progress_of(*next_).posted_bytes == next_->local.size()) ++next_;
  }
  queue_pair_.submit();
}

void VerbsLane::post_piece(Operation& operation) {
  Progress& progress = progress_of(operation);
  const std::span<std::byte> piece = operation.local.subspan(
      progress.posted_bytes,
      std::min(operation.local.size() - progress.posted_bytes, max_piece_bytes_));
  const bool is_read = operation.kind == Operation::Kind::kRead;
  const std::optional<std::uint32_t> key = key_of(piece);
  assert(key);  // every buffer lies in memory that was announced
  ibv_send_wr request{};
  request.opcode = is_read ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE;
  if (!is_read && piece.size() <= queue_pair_.inline_bytes()) {
    request.send_flags = IBV_SEND_INLINE;
  }
  const RegionEntry& region = regions_[operation.region->index];
  request.wr.rdma.remote_addr = region.base + operation.offset_bytes + progress.posted_bytes;
  request.wr.rdma.rkey = static_cast<std::uint32_t>(region.key);
  progress.posted_bytes += piece.size();
  ++progress.pieces_under_way;
  queue_pair_.add_send(request,
                       {reinterpret_cast<std::uint64_t>(piece.data()),
                        static_cast<std::uint32_t>(piece.size()), key.value_or(0)},
                       *this, reinterpret_cast<std::uint64_t>(&operation));
}

// ---- completions -------------------------------------------------------------------------------

void VerbsLane::on_work_done(const WorkResult& result) {
  const bool is_good = result.status == IBV_WC_SUCCESS;
  // The channel tells of its end only after all of its work: too late for whoever waits for this.
  if (!is_good) mark_broken(in_peers_name(work_failure(result.status)));
  finish_piece(*std::bit_cast<Operation*>(result.cookie), is_good);
  if (next_ != operations_.end()) loop().flush_later(*this);
}

void VerbsLane::finish_piece(Operation& operation, bool is_good) {
  Progress& progress = progress_of(operation);
  --progress.pieces_under_way;
  progress.has_failed |= !is_good;
  if (progress.pieces_under_way > 0) return;
  const bool is_posted = progress.posted_bytes == operation.local.size();
  if (!is_posted && !progress.has_failed) return;
  const auto place = Operations::s_iterator_to(operation);
  if (place == next_) ++next_;
  operations_.erase(place);
  // Its owner may submit more or close this lane; it cannot be gone when this returns, because
  // close() resumes only in a later turn.
  if (progress.has_failed) {
    complete(operation, failure_of(operation));
  } else {
    complete(operation, std::nullopt);
  }
}

ErrorCode VerbsLane::failure_of(const Operation& operation) {
  return operation.deadline_ns <= loop().now_ns() ? ErrorCode::kTimedOut : ErrorCode::kDisconnected;
}

void VerbsLane::on_tick() {
  tick_.reset();
  if (is_broken() || operations_.empty()) return;
  const std::uint64_t now_ns = loop().now_ns();
  const auto overdue = std::ranges::find_if(operations_, [now_ns](const Operation& operation) {
    return operation.deadline_ns <= now_ns;
  });
  if (overdue != operations_.end()) {
    const bool is_read = overdue->kind == Operation::Kind::kRead;
    return break_lane(Error{ErrorCode::kTimedOut,
                            fmt::format("{}: a {} of {} bytes was not done within its deadline",
                                        peer_, is_read ? "read" : "write", overdue->local.size())});
  }
  tick_ = loop().call_at(now_ns + kTickNs, [this] { on_tick(); });
}

// ---- breaking and closing ----------------------------------------------------------------------

void VerbsLane::break_lane(Error reason) {
  if (std::exchange(is_ending_, true)) return;
  mark_broken(std::move(reason));
  queue_pair_.fail();  // the device lets go of every buffer, and what was posted completes
  fail_waiting();
}

// All but those of which the queue pair will still tell: it may be in the middle of telling.
void VerbsLane::fail_waiting() {
  next_ = operations_.end();
  Operations waiting;
  for (auto at = operations_.begin(); at != operations_.end();) {
    Operation& operation = *at++;
    progress_of(operation).has_failed = true;
    if (progress_of(operation).pieces_under_way > 0) continue;
    operations_.erase(Operations::s_iterator_to(operation));
    waiting.push_back(operation);
  }
  while (!waiting.empty()) {
    Operation& operation = waiting.front();
    waiting.pop_front();
    complete(operation, failure_of(operation));
  }
}

Task<> VerbsLane::close() {
  set_on_broken(nullptr);
  break_lane(Error{ErrorCode::kCancelled, "the lane was closed"});
  co_await channel_->close();
  // Whoever called into this lane in this turn must have left it before its owner destroys it.
  co_await loop().resume_here();
}

}  // namespace rram
