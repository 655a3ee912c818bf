// The operations of one request: sent to several lanes at the same time, awaited together. The
// first error wins; all have completed when it resumes, so that every buffer is free again.
//
// Lives in the coroutine of its request; on one worker.
#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/result.h"
#include "fusefs/layout/plan.h"
#include "fusefs/worker.h"
#include "rdma/transport.h"

namespace rram {

class FanOut {
 public:
  // Room for `capacity` operations of a request (Worker::request_deadline_ns()). If it is overdue
  // they fail at once; else each has its own full time: one that is cut off breaks its lane, and
  // everything on it.
  FanOut(Worker& worker, std::size_t capacity, std::uint64_t request_deadline_ns)
      : worker_(worker),
        deadline_ns_(worker.is_overdue(request_deadline_ns) ? worker.loop().now_ns()
                                                            : worker.operation_deadline_ns()) {
    if (capacity > kInline) overflow_ = std::make_unique<Operation[]>(capacity - kInline);
    capacity_ = capacity;
  }

  void read(const Place& from, std::span<std::byte> to) { start(Operation::Kind::kRead, from, to); }
  void write(std::span<std::byte> from, const Place& to) {
    start(Operation::Kind::kWrite, to, from);
  }

  // `const std::optional<ErrorCode> failure = co_await fan_out.all();`
  OperationGroup& all() { return group_; }

 private:
  // A request of 1 MiB over stripe units of 256 KiB has at most 5 pieces.
  static constexpr std::size_t kInline = 5;

  void start(Operation::Kind kind, const Place& place, std::span<std::byte> local) {
    assert(count_ < capacity_);
    Operation& operation = count_ < kInline ? inline_[count_] : overflow_[count_ - kInline];
    ++count_;
    ProviderLink& link = worker_.link(place.provider);
    operation.kind = kind;
    operation.region = &link.region(place.region_index);
    operation.offset_bytes = place.region_offset;
    operation.local = local;
    operation.deadline_ns = deadline_ns_;
    group_.add(operation);
    link.submit(operation);
  }

  Worker& worker_;
  const std::uint64_t deadline_ns_;
  std::size_t capacity_ = 0;
  std::size_t count_ = 0;
  std::array<Operation, kInline> inline_;
  std::unique_ptr<Operation[]> overflow_;
  OperationGroup group_;
};

}  // namespace rram
