// One event loop a worker thread: it owns the thread's io_uring, hands completions to whoever asked
// for them, runs timers and what other threads posted.
//
// Threads: an EventLoop belongs to the thread that calls run(); every member is for that thread,
// except post(), which any thread may call.
//
// One turn: posted work -> expired timers -> flushers (batched sends) -> submit and wait ->
// completions. What a completion queues for sending leaves in the same turn, all at once.
//
// Before it sleeps the loop may spin for a while over its pollers (RDMA completion queues): a
// wake-up costs more than many operations take. It spins only while something is under way there,
// and for less time where spinning has not paid.
#pragma once

#include <liburing.h>

#include <coroutine>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "base/ring.h"

namespace rram {

// Receives the completion of one submission; lives until that completion (for a multishot
// submission: until the one without IORING_CQE_F_MORE).
class RingCompletion {
 public:
  RingCompletion() = default;
  RingCompletion(const RingCompletion&) = delete;
  RingCompletion& operator=(const RingCompletion&) = delete;
  // result: what the system call would have returned, -errno on failure; flags: IORING_CQE_F_*.
  virtual void on_completion(std::int32_t result, std::uint32_t flags) = 0;

 protected:
  ~RingCompletion() = default;
};

// Something that gathers work during a turn and hands it over once, at the turn's end.
class Flusher {
 public:
  Flusher() = default;
  Flusher(const Flusher&) = delete;
  Flusher& operator=(const Flusher&) = delete;
  virtual void flush() = 0;

 protected:
  ~Flusher() = default;

 private:
  friend class EventLoop;
  bool is_queued_ = false;
};

// Where work ends without the ring: a queue in memory that a device fills. Belongs to one loop,
// which knows of it only while there is something to do, so that idle ones cost nothing.
class Poller {
 public:
  Poller() = default;
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  // Takes what is there; true if there was something.
  virtual bool poll() = 0;
  // Something is under way that will end here.
  [[nodiscard]] virtual bool is_expecting() const = 0;
  // The loop is about to sleep: what comes from now on must wake it by the ring. True if something
  // was there already, which has been taken.
  virtual bool arm() = 0;

 protected:
  ~Poller() = default;

 private:
  friend class EventLoop;
  bool is_to_be_armed_ = false;
  bool is_spun_over_ = false;
};

class EventLoop {
 public:
  using TimerId = std::pair<std::uint64_t, std::uint64_t>;  // (due_ns, sequence)

  static Result<std::unique_ptr<EventLoop>> create(const RingOptions& options);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Runs until stop(). Turns that are begun are finished.
  void run();
  void stop() { stopping_ = true; }

  // Runs `work` on the loop's thread, in the order of posting. Any thread.
  void post(std::function<void()> work);

  // Monotonic time of this turn in nanoseconds; cheap.
  [[nodiscard]] std::uint64_t now_ns() const { return now_ns_; }
  [[nodiscard]] std::uint64_t now_ms() const { return now_ns_ / 1'000'000; }
  // The same clock, standing still while this process does not run (it is stopped, its host
  // sleeps).
  [[nodiscard]] std::uint64_t running_ns() const { return now_ns_ - stopped_ns_; }

  // Calls `work` once, no earlier than `due_ns` on the clock of now_ns(). After this process did
  // not run for a while (it was stopped, its host slept), what has come in meanwhile is dealt with
  // first: else the silence that it hears would be its own.
  TimerId call_at(std::uint64_t due_ns, std::function<void()> work);
  // The work will not be called. A timer that has fired already is ignored.
  void cancel_timer(TimerId id);

  // A free submission entry, cleared and bound to `completion` (null: nobody wants to know).
  // The caller prepares it with io_uring_prep_*, through submit_with() below.
  template <typename Prepare>
  void submit_with(RingCompletion* completion, Prepare&& prepare) {
    io_uring_sqe* entry = next_entry();
    prepare(entry);
    io_uring_sqe_set_data(entry, completion);
  }

  // A command of a file's own kind (IORING_OP_URING_CMD) to a registered file: `address` and
  // `length` are the command's own, `area` is copied into the entry behind them. The loop was made
  // with large_submission_entries.
  void submit_command(RingCompletion& completion, unsigned registered_file, std::uint32_t command,
                      const void* address, std::uint32_t length, std::span<const std::byte> area);

  // The files that commands may name by their position; one set at a time.
  Status register_files(std::span<const int> fds);
  void unregister_files();

  // Asks for the submission bound to `completion` to end early; it still completes, -ECANCELED
  // if the cancelling came in time.
  void cancel(RingCompletion& completion);

  // Calls flusher.flush() at the end of this turn, once however often it is asked for.
  void flush_later(Flusher& flusher) {
    if (flusher.is_queued_) return;
    flusher.is_queued_ = true;
    flushers_.push_back(&flusher);
  }
  // The flusher is going away.
  void forget(Flusher& flusher);

  // Work is under way that will end in `poller`: a loop that may spin looks there before it sleeps.
  void expect(Poller& poller) {
    if (spin_limit_ns_ == 0 || poller.is_spun_over_) return;
    poller.is_spun_over_ = true;
    spun_over_.push_back(&poller);
  }
  // Calls poller.arm() before the loop next sleeps.
  void arm_later(Poller& poller) {
    if (poller.is_to_be_armed_) return;
    poller.is_to_be_armed_ = true;
    to_be_armed_.push_back(&poller);
  }
  // The poller is going away.
  void forget(Poller& poller);
  // How long to spin before sleeping, at most; 0: not at all, as in the beginning.
  void set_spin_limit(std::uint64_t limit_ns) { spin_limit_ns_ = spin_ns_ = limit_ns; }

  // Resumes the awaiting coroutine on this loop's thread; from any thread.
  auto resume_here() {
    struct Awaiter {
      EventLoop& loop;
      static constexpr bool await_ready() noexcept { return false; }
      void await_suspend(std::coroutine_handle<> awaiter) const {
        loop.post([awaiter] { awaiter.resume(); });
      }
      static constexpr void await_resume() noexcept {}
    };
    return Awaiter{*this};
  }

  // Resumes after `duration_ms` milliseconds.
  auto sleep_ms(std::uint64_t duration_ms) {
    struct Awaiter {
      EventLoop& loop;
      std::uint64_t duration_ms;
      static constexpr bool await_ready() noexcept { return false; }
      void await_suspend(std::coroutine_handle<> awaiter) const {
        loop.call_at(loop.now_ns() + duration_ms * 1'000'000, [awaiter] { awaiter.resume(); });
      }
      static constexpr void await_resume() noexcept {}
    };
    return Awaiter{*this, duration_ms};
  }

 private:
  // Reads the eventfd that post() rings.
  class Doorbell final : public RingCompletion {
   public:
    explicit Doorbell(EventLoop& loop) : loop_(loop) {}
    void arm();
    void on_completion(std::int32_t result, std::uint32_t flags) override;

   private:
    EventLoop& loop_;
    std::uint64_t rings_ = 0;
  };

  EventLoop(UniqueRing ring, UniqueFd doorbell_fd);

  io_uring_sqe* next_entry();
  void read_clock();
  void run_posted();
  void run_timers();
  void run_flushers();
  void submit_and_wait();
  bool look_once();
  bool spin();
  void enter_kernel_if_needed();
  bool arm_pollers();
  void run_completions();

  UniqueRing ring_;
  UniqueFd doorbell_fd_;
  Doorbell doorbell_{*this};
  bool stopping_ = false;
  std::uint64_t now_ns_ = 0;

  std::map<TimerId, std::function<void()>> timers_;
  std::uint64_t next_timer_sequence_ = 0;
  std::uint64_t timers_wait_until_ns_ = 0;
  unsigned catch_ups_ = 0;  // since timers have run
  std::uint64_t stopped_ns_ = 0;
  std::vector<Flusher*> flushers_;
  // Null: forgotten.
  std::vector<Poller*> spun_over_;
  std::vector<Poller*> to_be_armed_;
  std::uint64_t spin_limit_ns_ = 0;
  std::uint64_t spin_ns_ = 0;  // of the next spinning: adapts between the limit and a part of it

  std::mutex posted_mutex_;  // guards posted_; a leaf: only the doorbell is rung under it
  std::vector<std::function<void()>> posted_;
  std::vector<std::function<void()>> running_posted_;
};

// Monotonic time in nanoseconds, read from the kernel.
std::uint64_t monotonic_ns();

}  // namespace rram
