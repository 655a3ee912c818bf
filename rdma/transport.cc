#include "rdma/transport.h"

#include <memory>
#include <utility>

#include "base/range_check.h"

namespace rram {

void WriteFence::raise(std::uint64_t lane) {
  const std::lock_guard lock(mutex_);
  lanes_.insert(lane);
  strays_.store(lanes_.size(), std::memory_order_release);
}

void WriteFence::lower(std::uint64_t lane) {
  const std::lock_guard lock(mutex_);
  lanes_.erase(lane);
  strays_.store(lanes_.size(), std::memory_order_release);
}

Lane::~Lane() { *alive_ = false; }

Status Lane::announce_arena(std::span<std::byte> /*arena*/) { return {}; }

void Lane::submit(Operation& operation) {
  assert(operation.group != nullptr && operation.region != nullptr);
  ++stats_.in_flight;
  if (broken_) return complete(operation, ErrorCode::kDisconnected);
  const std::size_t length_bytes = operation.local.size();
  if (length_bytes > kMaxOperationBytes ||
      !range_is_inside(operation.offset_bytes, length_bytes, operation.region->length_bytes)) {
    return complete(operation, ErrorCode::kInvalidArgument);
  }
  if (operation.deadline_ns <= loop_.now_ns()) return complete(operation, ErrorCode::kTimedOut);
  if (length_bytes == 0) return complete(operation, std::nullopt);
  const bool is_write = operation.kind == Operation::Kind::kWrite;
  if (is_write && identity_.fence && identity_.fence->is_up()) {
    return complete(operation, ErrorCode::kDisconnected);
  }
  operation.is_under_way = true;
  if (is_write) ++writes_in_flight_;
  do_submit(operation);
}

void Lane::complete(Operation& operation, std::optional<ErrorCode> failure) {
  assert(stats_.in_flight > 0);
  --stats_.in_flight;
  if (std::exchange(operation.is_under_way, false) && operation.kind == Operation::Kind::kWrite) {
    --writes_in_flight_;
  }
  if (failure) {
    ++stats_.failures;
  } else if (operation.kind == Operation::Kind::kRead) {
    ++stats_.reads;
    stats_.read_bytes += operation.local.size();
  } else {
    ++stats_.writes;
    stats_.written_bytes += operation.local.size();
  }
  operation.failure = failure;
  operation.group->on_completed(operation);
}

void Lane::refuse(Operation& operation, ErrorCode reason) {
  operation.failure = reason;
  operation.group->on_completed(operation);
}

void Lane::mark_broken(Error reason, Strays strays) {
  if (broken_) return;
  broken_ = std::move(reason);
  // Before the first of them is told that it failed: what is written after that may not be
  // overtaken.
  const bool has_strays = strays == Strays::kPossible && writes_in_flight_ > 0;
  if (has_strays && identity_.fence) identity_.fence->raise(identity_.number);
  loop_.post([this, alive = alive_] {
    if (!*alive) return;
    // The handler may close and even destroy the lane, and with it the handler.
    const auto handler = std::exchange(on_broken_, nullptr);
    const Error why = *broken_;
    if (handler) handler(why);
  });
}

}  // namespace rram
