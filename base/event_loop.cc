#include "base/event_loop.h"

#include <fmt/format.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace rram {

namespace {
constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
// With no timer set the loop still wakes this often; it bounds how stale now_ns() can get.
constexpr std::uint64_t kMaxSleepNs = 10 * kNsPerSecond;
// Who wakes so late did not run.
constexpr std::uint64_t kLateNs = kNsPerSecond / 10;
// What waits in sockets after that is taken in within this; timers come afterwards.
constexpr std::uint64_t kCatchUpNs = kNsPerSecond / 2;
// In a row: a loop that is always late must run its timers too.
constexpr unsigned kMostCatchUps = 2;
// Spinning that never pays goes on for this part of its limit, so that it notices when it would.
constexpr std::uint64_t kLeastSpinPart = 16;
// A clock may cost more than a look at a completion queue; where it is no TSC, a hundred times
// more.
constexpr unsigned kLooksPerClock = 32;
}  // namespace

std::uint64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kNsPerSecond +
         static_cast<std::uint64_t>(now.tv_nsec);
}

Result<std::unique_ptr<EventLoop>> EventLoop::create(const RingOptions& options) {
  Result<UniqueRing> ring = make_ring(options);
  if (!ring) return std::unexpected(ring.error());
  UniqueFd doorbell_fd(::eventfd(0, EFD_CLOEXEC));
  if (!doorbell_fd) return fail_errno(errno, "cannot make an eventfd");
  return std::unique_ptr<EventLoop>(new EventLoop(std::move(*ring), std::move(doorbell_fd)));
}

EventLoop::EventLoop(UniqueRing ring, UniqueFd doorbell_fd)
    : ring_(std::move(ring)), doorbell_fd_(std::move(doorbell_fd)) {
  read_clock();
  doorbell_.arm();
}

EventLoop::~EventLoop() = default;

void EventLoop::run() {
  stopping_ = false;
  read_clock();
  while (!stopping_) {
    run_posted();
    run_timers();
    run_flushers();
    if (stopping_) break;
    submit_and_wait();
    run_completions();
  }
}

void EventLoop::post(std::function<void()> work) {
  // The doorbell is rung under the lock: the loop can run the work, and with it be ended and
  // destroyed, only after this has let go of everything.
  const std::lock_guard lock(posted_mutex_);
  const bool was_empty = posted_.empty();
  posted_.push_back(std::move(work));
  if (!was_empty) return;  // the doorbell has been rung for the first one
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(doorbell_fd_.get(), &one, sizeof one);
  assert(written == static_cast<ssize_t>(sizeof one));
}

EventLoop::TimerId EventLoop::call_at(std::uint64_t due_ns, std::function<void()> work) {
  const TimerId id{std::max(due_ns, now_ns_), next_timer_sequence_++};
  timers_.emplace(id, std::move(work));
  return id;
}

void EventLoop::cancel_timer(TimerId id) { timers_.erase(id); }

void EventLoop::submit_command(RingCompletion& completion, unsigned registered_file,
                               std::uint32_t command, const void* address, std::uint32_t length,
                               std::span<const std::byte> area) {
  assert((ring_->flags & IORING_SETUP_SQE128) != 0);
  submit_with(&completion, [&](io_uring_sqe* entry) {
    entry->opcode = IORING_OP_URING_CMD;
    entry->flags = IOSQE_FIXED_FILE;
    entry->fd = static_cast<int>(registered_file);
    entry->cmd_op = command;
    entry->addr = reinterpret_cast<std::uint64_t>(address);
    entry->len = length;
    std::memcpy(entry->cmd, area.data(), area.size());
  });
}

Status EventLoop::register_files(std::span<const int> fds) {
  const int rc =
      io_uring_register_files(ring_.get(), fds.data(), static_cast<unsigned>(fds.size()));
  if (rc != 0) return fail_errno(-rc, "cannot register a file with the io_uring");
  return {};
}

void EventLoop::unregister_files() { io_uring_unregister_files(ring_.get()); }

void EventLoop::cancel(RingCompletion& completion) {
  submit_with(nullptr, [&](io_uring_sqe* entry) { io_uring_prep_cancel(entry, &completion, 0); });
}

void EventLoop::forget(Flusher& flusher) {
  if (!flusher.is_queued_) return;
  std::replace(flushers_.begin(), flushers_.end(), &flusher, static_cast<Flusher*>(nullptr));
  flusher.is_queued_ = false;
}

io_uring_sqe* EventLoop::next_entry() {
  io_uring_sqe* entry = io_uring_get_sqe(ring_.get());
  while (entry == nullptr) {  // the queue is full of this turn's work: hand it over early
    io_uring_submit(ring_.get());
    entry = io_uring_get_sqe(ring_.get());
  }
  const bool large = (ring_->flags & IORING_SETUP_SQE128) != 0;
  std::memset(static_cast<void*>(entry), 0, sizeof(io_uring_sqe) * (large ? 2 : 1));
  return entry;
}

void EventLoop::read_clock() { now_ns_ = monotonic_ns(); }

void EventLoop::run_posted() {
  {
    const std::lock_guard lock(posted_mutex_);
    running_posted_.swap(posted_);
  }
  for (std::function<void()>& work : running_posted_) work();
  running_posted_.clear();
}

void EventLoop::run_timers() {
  if (timers_.empty()) return;
  const std::uint64_t due_ns = std::max(timers_.begin()->first.first, timers_wait_until_ns_);
  if (now_ns_ < due_ns) return;
  if (now_ns_ - due_ns > kLateNs && catch_ups_ < kMostCatchUps) {
    ++catch_ups_;
    timers_wait_until_ns_ = now_ns_ + kCatchUpNs;
    return;
  }
  catch_ups_ = 0;
  while (!timers_.empty() && timers_.begin()->first.first <= now_ns_) {
    auto node = timers_.extract(timers_.begin());
    node.mapped()();
  }
}

void EventLoop::run_flushers() {
  // A flush may queue another flusher; it runs in this turn too.
  for (std::size_t i = 0; i < flushers_.size(); ++i) {
    Flusher* flusher = flushers_[i];
    if (flusher == nullptr) continue;
    flusher->is_queued_ = false;
    flusher->flush();
  }
  flushers_.clear();
}

void EventLoop::forget(Poller& poller) {
  // The loop may be in the middle of them.
  std::replace(spun_over_.begin(), spun_over_.end(), &poller, static_cast<Poller*>(nullptr));
  std::replace(to_be_armed_.begin(), to_be_armed_.end(), &poller, static_cast<Poller*>(nullptr));
}

bool EventLoop::arm_pollers() {
  bool found = false;
  // One that finds something may ask to be armed again: in the next turn.
  const std::size_t count = to_be_armed_.size();
  for (std::size_t i = 0; i < count; ++i) {
    Poller* poller = std::exchange(to_be_armed_[i], nullptr);
    if (poller == nullptr) continue;
    poller->is_to_be_armed_ = false;
    if (poller->arm()) found = true;
  }
  to_be_armed_.erase(to_be_armed_.begin(),
                     to_be_armed_.begin() + static_cast<std::ptrdiff_t>(count));
  return found;
}

// A loop that spins enters the kernel only for what it has to submit, and where the kernel says
// that completions wait for this thread.
void EventLoop::enter_kernel_if_needed() {
  constexpr unsigned kNeedsEntry = IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW;
  const unsigned flags = std::atomic_ref(*ring_->sq.kflags).load(std::memory_order_relaxed);
  if (io_uring_sq_ready(ring_.get()) > 0 || (flags & kNeedsEntry) != 0) {
    io_uring_submit_and_get_events(ring_.get());
  }
}

// True if something came.
bool EventLoop::look_once() {
  enter_kernel_if_needed();
  bool found = io_uring_cq_ready(ring_.get()) > 0;
  for (std::size_t i = 0; i < spun_over_.size(); ++i) {
    if (spun_over_[i] != nullptr && spun_over_[i]->poll()) found = true;
  }
  return found;
}

// True if something came while it span.
bool EventLoop::spin() {
  std::erase_if(spun_over_, [](Poller* poller) {
    if (poller == nullptr) return true;
    poller->is_spun_over_ = poller->is_expecting();
    return !poller->is_spun_over_;
  });
  if (spun_over_.empty()) return false;
  const std::uint64_t end_ns = monotonic_ns() + spin_ns_;
  do {
    for (unsigned look = 0; look < kLooksPerClock; ++look) {
      if (!look_once()) continue;
      spin_ns_ = std::min(spin_limit_ns_, spin_ns_ * 2);
      return true;
    }
  } while (monotonic_ns() < end_ns);
  spin_ns_ = std::max(spin_limit_ns_ / kLeastSpinPart, spin_ns_ / 2);
  return false;
}

void EventLoop::submit_and_wait() {
  // What was found by polling may have queued more: it leaves before the loop sleeps.
  if ((!spun_over_.empty() && spin()) || (!to_be_armed_.empty() && arm_pollers())) {
    enter_kernel_if_needed();
    return read_clock();
  }
  std::uint64_t sleep_ns = kMaxSleepNs;
  if (!timers_.empty()) {
    const std::uint64_t due_ns = std::max(timers_.begin()->first.first, timers_wait_until_ns_);
    sleep_ns = due_ns <= now_ns_ ? 0 : std::min(sleep_ns, due_ns - now_ns_);
  }
  __kernel_timespec timeout{static_cast<std::int64_t>(sleep_ns / kNsPerSecond),
                            static_cast<long long>(sleep_ns % kNsPerSecond)};
  io_uring_cqe* first = nullptr;
  const int rc = io_uring_submit_and_wait_timeout(ring_.get(), &first, 1, &timeout, nullptr);
  // -EBUSY and -EAGAIN: the completion queue is full or memory is short; reaping comes next.
  assert(rc >= 0 || rc == -ETIME || rc == -EINTR || rc == -EBUSY || rc == -EAGAIN);
  static_cast<void>(rc);
  const std::uint64_t expected_ns = now_ns_ + sleep_ns;
  read_clock();
  if (now_ns_ > expected_ns + kLateNs) stopped_ns_ += now_ns_ - expected_ns;
}

void EventLoop::run_completions() {
  unsigned head = 0;
  unsigned reaped = 0;
  io_uring_cqe* completed = nullptr;
  io_uring_for_each_cqe(ring_.get(), head, completed) {
    auto* completion = static_cast<RingCompletion*>(io_uring_cqe_get_data(completed));
    if (completion != nullptr) completion->on_completion(completed->res, completed->flags);
    ++reaped;
  }
  io_uring_cq_advance(ring_.get(), reaped);
}

void EventLoop::Doorbell::arm() {
  loop_.submit_with(this, [this](io_uring_sqe* entry) {
    io_uring_prep_read(entry, loop_.doorbell_fd_.get(), &rings_, sizeof rings_, 0);
  });
}

void EventLoop::Doorbell::on_completion(std::int32_t result, std::uint32_t /*flags*/) {
  if (result != -ECANCELED) arm();
}

}  // namespace rram
