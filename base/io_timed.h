// Awaitable I/O with a deadline, for connecting and for control connections: base/io.h plus a timer
// that cancels. The data path has no timer for each operation; see TcpLane.
#pragma once

#include <liburing.h>
#include <sys/socket.h>

#include <cerrno>
#include <coroutine>
#include <cstdint>
#include <utility>

#include "base/event_loop.h"

namespace rram {

// Resumes with what the system call would return: >= 0, or -errno; -ETIMEDOUT if the deadline came
// first. In every case the kernel no longer touches what the submission named.
template <typename Prepare>
class [[nodiscard]] TimedAwaiter final : public RingCompletion {
 public:
  TimedAwaiter(EventLoop& loop, std::uint64_t deadline_ns, Prepare prepare)
      : loop_(loop), deadline_ns_(deadline_ns), prepare_(std::move(prepare)) {}

  static constexpr bool await_ready() noexcept { return false; }
  void await_suspend(std::coroutine_handle<> awaiter) {
    awaiter_ = awaiter;
    loop_.submit_with(this, prepare_);
    timer_ = loop_.call_at(deadline_ns_, [this] {
      timed_out_ = true;
      loop_.cancel(*this);
    });
  }
  [[nodiscard]] int await_resume() const noexcept { return result_; }

  void on_completion(std::int32_t result, std::uint32_t /*flags*/) override {
    if (!timed_out_) loop_.cancel_timer(timer_);
    result_ = timed_out_ && result < 0 ? -ETIMEDOUT : result;
    awaiter_.resume();
  }

 private:
  EventLoop& loop_;
  std::uint64_t deadline_ns_;
  Prepare prepare_;
  std::coroutine_handle<> awaiter_;
  EventLoop::TimerId timer_;
  bool timed_out_ = false;
  int result_ = 0;
};

inline auto connect_until(EventLoop& loop, std::uint64_t deadline_ns, int fd,
                          const sockaddr* address, socklen_t address_bytes) {
  return TimedAwaiter(loop, deadline_ns, [fd, address, address_bytes](io_uring_sqe* entry) {
    io_uring_prep_connect(entry, fd, address, address_bytes);
  });
}

}  // namespace rram
