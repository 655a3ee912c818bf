// The transport contract: what every way to a provider's memory promises (verbs, tcp, shm, local).
//
// A Lane is one connection of one worker to one provider. It carries out Operations: one-sided
// reads and writes of the lease's regions. The provider runs no file-system code for them.
//
//  * Every submitted Operation completes exactly once, on the lane's thread, possibly inside
//  submit().
//  * Success of a write means: placed in provider memory. Success of a read: the buffer is filled.
//  * An Operation moves at most kMaxOperationBytes; one of no bytes succeeds at once.
//  * Every Operation has a deadline. After it, the Operation has completed (a little later at most:
//    kDeadlineCheckMs), and a connection that let one pass is broken: its lane fails all that is in
//    flight.
//  * After completion, success or not, nothing in flight can touch the buffer any more.
//  * A broken lane stays broken: later Operations fail at once. Its owner makes a new one.
//  * If writes were in flight when it broke, writes on the lease's other lanes fail at once until
//  the
//    new one is there (WriteFence).
//  * Operations are unordered with each other.
//
// One contract suite, tests/contract, runs against every transport; `local` is the specification.
#pragma once

#include <array>
#include <atomic>
#include <boost/intrusive/list.hpp>
#include <cassert>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/task.h"

namespace rram {

// The most that one Operation moves; rdma/wire has the same limit for a frame.
constexpr std::size_t kMaxOperationBytes = std::size_t{4} << 20;

// How late an overdue Operation may complete, in milliseconds.
constexpr std::uint64_t kDeadlineCheckMs = 50;

// Memory at a provider that this requester may read and write: one segment of its lease.
struct RemoteRegion {
  std::uint32_t index = 0;  // position in the lease
  std::uint64_t length_bytes = 0;
};

// Makes writes fail at once, on all lanes of a lease, while a write of a lane that broke may still
// be on its way to the provider's memory: it could come after them and put old bytes over new ones.
// The lane that takes the broken one's place ends this, because the provider answers it only when
// nothing of the broken one can arrive any more (docs/protocol.md, ATTACH).
//
// Any thread; one mutex, a leaf.
class WriteFence {
 public:
  [[nodiscard]] bool is_up() const { return strays_.load(std::memory_order_acquire) != 0; }
  // `lane`: its number in the lease.
  void raise(std::uint64_t lane);
  void lower(std::uint64_t lane);

 private:
  std::atomic<std::size_t> strays_{0};  // lanes_.size()
  std::mutex mutex_;                    // guards lanes_
  std::set<std::uint64_t> lanes_;
};

// Which of a lease's lanes a Lane is. Without a fence: its writes cannot outlive it.
struct LaneIdentity {
  std::uint64_t number = 0;
  std::shared_ptr<WriteFence> fence;
};

class OperationGroup;

// One read or write. It belongs to its submitter, who keeps it and its buffer alive until its group
// has resumed. Reusable after that.
class Operation : public boost::intrusive::list_base_hook<> {
 public:
  enum class Kind : std::uint8_t { kRead, kWrite };

  Operation() = default;
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  Kind kind = Kind::kRead;
  const RemoteRegion* region = nullptr;
  std::uint64_t offset_bytes = 0;   // within the region
  std::span<std::byte> local;       // read: filled; write: sent, not changed
  std::uint64_t deadline_ns = 0;    // on the clock of EventLoop::now_ns()
  OperationGroup* group = nullptr;  // set by OperationGroup::add

  // Valid after completion; nothing: success.
  std::optional<ErrorCode> failure;

  bool is_under_way = false;  // Lane's own

  // Free for the transport while the operation is in flight.
  alignas(8) std::array<std::byte, 64> transport_scratch;
};

// Several operations awaited together: `co_await group` resumes when all of them have completed,
// failed ones too, so that every buffer is free again. Lives on one thread.
class OperationGroup {
 public:
  OperationGroup() = default;
  OperationGroup(const OperationGroup&) = delete;
  OperationGroup& operator=(const OperationGroup&) = delete;
  ~OperationGroup() { assert(pending_ == 0); }

  // Counts `operation` in; to be called before it is submitted.
  void add(Operation& operation) {
    operation.group = this;
    operation.failure.reset();
    ++pending_;
  }

  // The first failure that came, if any.
  [[nodiscard]] std::optional<ErrorCode> first_failure() const { return first_failure_; }

  // Resumes with the first failure.
  auto operator co_await() noexcept {
    struct Awaiter {
      OperationGroup* group;
      [[nodiscard]] bool await_ready() const noexcept { return group->pending_ == 0; }
      void await_suspend(std::coroutine_handle<> awaiter) const noexcept {
        group->awaiter_ = awaiter;
      }
      [[nodiscard]] std::optional<ErrorCode> await_resume() const noexcept {
        return group->first_failure_;
      }
    };
    return Awaiter{this};
  }

 private:
  friend class Lane;
  void on_completed(const Operation& operation) {
    if (operation.failure && !first_failure_) first_failure_ = operation.failure;
    if (--pending_ == 0 && awaiter_) std::exchange(awaiter_, nullptr).resume();
  }

  std::size_t pending_ = 0;
  std::optional<ErrorCode> first_failure_;
  std::coroutine_handle<> awaiter_;
};

// Counters of one lane, for metrics.
struct LaneStats {
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t read_bytes = 0;
  std::uint64_t written_bytes = 0;
  std::uint64_t failures = 0;
  std::uint64_t in_flight = 0;
};

// One connection of one worker to one provider. Belongs to that worker's thread.
class Lane {
 public:
  virtual ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  // "tcp", "shm", "local", "verbs".
  [[nodiscard]] virtual std::string_view transport_name() const = 0;

  // Starts `operation`, which must be in a group. Its checks: a broken lane, or a write while the
  // fence is up (kDisconnected), a range outside the region or too long (kInvalidArgument), a
  // deadline that has passed (kTimedOut).
  void submit(Operation& operation);

  // Every buffer of an Operation lies in memory announced here before; transports that must
  // register memory (verbs) do it now. `arena` must outlive the lane.
  virtual Status announce_arena(std::span<std::byte> arena);

  // Breaks the lane (if it is not broken yet) and resumes when nothing is in flight any more; the
  // lane may be destroyed only after that.
  virtual Task<> close() = 0;

  [[nodiscard]] bool is_broken() const { return broken_.has_value(); }
  // Why it broke; only if is_broken().
  [[nodiscard]] const Error& reason() const { return *broken_; }
  // Called once, from the loop (never inside submit or close), when the lane has broken by itself.
  void set_on_broken(std::function<void(const Error&)> handler) { on_broken_ = std::move(handler); }

  [[nodiscard]] const LaneStats& stats() const { return stats_; }

  // Whether something that was sent may still reach the provider after the lane has broken.
  enum class Strays : std::uint8_t { kPossible, kNone };

  // Completes `operation`, which was counted into its group but has no lane to go to.
  static void refuse(Operation& operation, ErrorCode reason);

 protected:
  explicit Lane(EventLoop& loop, LaneIdentity identity = {})
      : loop_(loop), identity_(std::move(identity)) {}

  [[nodiscard]] EventLoop& loop() { return loop_; }

  // Starts the operation: it is within its region and in time, the lane is not broken.
  virtual void do_submit(Operation& operation) = 0;

  // Every operation ends here, once. The operation may be gone when this returns.
  void complete(Operation& operation, std::optional<ErrorCode> failure);

  // From now on submit() fails. The first reason stays. The implementation then fails what is in
  // flight, when nothing can touch the buffers any more.
  void mark_broken(Error reason, Strays strays = Strays::kPossible);

 private:
  EventLoop& loop_;
  const LaneIdentity identity_;
  std::size_t writes_in_flight_ = 0;  // that passed the checks
  std::optional<Error> broken_;
  std::function<void(const Error&)> on_broken_;
  LaneStats stats_;
  // Outlives the lane where a posted notification is still under way.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace rram
