// Stop new work, await running work. A Gate belongs to one thread and to the object whose work it
// guards; the object may go only after close() has resumed.
#pragma once

#include <cassert>
#include <coroutine>
#include <cstddef>
#include <utility>

#include "base/task.h"

namespace rram {

class Gate {
 public:
  Gate() = default;
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  ~Gate() { assert(running_ == 0); }

  [[nodiscard]] bool is_closed() const { return closed_; }
  [[nodiscard]] std::size_t running() const { return running_; }

  void enter() { ++running_; }
  void leave() {
    assert(running_ > 0);
    if (--running_ == 0 && waiter_) std::exchange(waiter_, nullptr).resume();
  }

  // Refuses new work (its callers must look at is_closed()) and resumes when none is running.
  auto close() {
    closed_ = true;
    struct Awaiter {
      Gate& gate;
      [[nodiscard]] bool await_ready() const noexcept { return gate.running_ == 0; }
      void await_suspend(std::coroutine_handle<> awaiter) noexcept { gate.waiter_ = awaiter; }
      void await_resume() const noexcept {}
    };
    return Awaiter{*this};
  }

 private:
  std::size_t running_ = 0;
  bool closed_ = false;
  std::coroutine_handle<> waiter_;
};

// Starts `task` now; it runs by itself and `gate` counts it until its end.
inline Detached spawn(Gate& gate, Task<> task) {
  gate.enter();
  co_await task;
  gate.leave();
}

}  // namespace rram
