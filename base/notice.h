// Lets one coroutine wait, with a deadline, for something that another part of the same thread
// does. Belongs to one loop's thread.
#pragma once

#include <cassert>
#include <coroutine>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

#include "base/event_loop.h"

namespace rram {

class Notice {
 public:
  static constexpr std::uint64_t kNoDeadline = std::numeric_limits<std::uint64_t>::max();

  explicit Notice(EventLoop& loop) : loop_(loop) {}
  ~Notice() { assert(!waiter_); }
  Notice(const Notice&) = delete;
  Notice& operator=(const Notice&) = delete;

  // Wakes the waiter inside this call; with none, the next wait ends at once.
  void give() {
    is_given_ = true;
    if (!waiter_) return;
    if (timer_) loop_.cancel_timer(*std::exchange(timer_, std::nullopt));
    std::exchange(waiter_, nullptr).resume();
  }

  // True when it was given, which it is no longer afterwards; false at the deadline. One waiter.
  auto wait_until(std::uint64_t deadline_ns) {
    struct Awaiter {
      Notice& notice;
      std::uint64_t deadline_ns;
      [[nodiscard]] bool await_ready() const noexcept { return notice.is_given_; }
      void await_suspend(std::coroutine_handle<> awaiter) const {
        notice.waiter_ = awaiter;
        if (deadline_ns == kNoDeadline) return;
        notice.timer_ = notice.loop_.call_at(deadline_ns, [&notice = notice] {
          notice.timer_.reset();
          std::exchange(notice.waiter_, nullptr).resume();
        });
      }
      [[nodiscard]] bool await_resume() const noexcept {
        return std::exchange(notice.is_given_, false);
      }
    };
    return Awaiter{*this, deadline_ns};
  }
  auto wait() { return wait_until(kNoDeadline); }

 private:
  EventLoop& loop_;
  bool is_given_ = false;
  std::coroutine_handle<> waiter_;
  std::optional<EventLoop::TimerId> timer_;
};

}  // namespace rram
