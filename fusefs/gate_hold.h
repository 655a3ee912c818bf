// A coroutine's stay in a file's gate (file_gates.h): entered by co_await, left by its end.
#pragma once

#include <coroutine>
#include <utility>
#include <vector>

#include "base/event_loop.h"
#include "fusefs/file_gates.h"
#include "fusefs/volume.h"

namespace rram {

class GateWaiter {
 public:
  explicit GateWaiter(EventLoop& loop) : loop_(loop) {}
  void set(std::coroutine_handle<> awaiter) { awaiter_ = awaiter; }
  // From any thread: whoever left the gate may be another worker.
  void wake() {
    loop_.post([awaiter = awaiter_] { awaiter.resume(); });
  }

 private:
  EventLoop& loop_;
  std::coroutine_handle<> awaiter_;
};

class GateHold {
 public:
  GateHold(Volume& volume, Ino ino, GateMode mode) : volume_(&volume), ino_(ino), mode_(mode) {}
  GateHold(GateHold&& other) noexcept
      : volume_(std::exchange(other.volume_, nullptr)), ino_(other.ino_), mode_(other.mode_) {}
  GateHold& operator=(GateHold&&) = delete;
  GateHold(const GateHold&) = delete;
  GateHold& operator=(const GateHold&) = delete;
  ~GateHold() {
    if (volume_ == nullptr) return;
    std::vector<GateWaiter*> admitted;
    volume_->leave(ino_, mode_, admitted);
    for (GateWaiter* waiter : admitted) waiter->wake();
  }

 private:
  Volume* volume_;
  Ino ino_;
  GateMode mode_;
};

// `const GateHold hold = co_await GateEntry(volume, loop, ino, GateMode::kShared);`
class GateEntry {
 public:
  GateEntry(Volume& volume, EventLoop& loop, Ino ino, GateMode mode)
      : volume_(volume), ino_(ino), mode_(mode), waiter_(loop) {}

  [[nodiscard]] bool await_ready() { return volume_.try_enter(ino_, mode_); }
  [[nodiscard]] bool await_suspend(std::coroutine_handle<> awaiter) {
    waiter_.set(awaiter);
    return !volume_.enter_or_queue(ino_, mode_, waiter_);
  }
  [[nodiscard]] GateHold await_resume() { return {volume_, ino_, mode_}; }

 private:
  Volume& volume_;
  Ino ino_;
  GateMode mode_;
  GateWaiter waiter_;
};

}  // namespace rram
