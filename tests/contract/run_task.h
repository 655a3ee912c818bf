// Runs coroutines to their end on an EventLoop of the calling thread.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "base/event_loop.h"
#include "base/gate.h"
#include "base/task.h"

namespace rram::test {

inline std::unique_ptr<EventLoop> make_loop() {
  auto loop = EventLoop::create({});
  EXPECT_TRUE(loop.has_value()) << loop.error().message;
  return std::move(*loop);
}

namespace detail {
inline Task<> fresh_clock(EventLoop& loop) {
  // The loop reads its clock when it has waited: the second turn has the time of now.
  co_await loop.resume_here();
  co_await loop.resume_here();
}

template <typename T>
Task<> run_and_store(EventLoop& loop, Task<T> task, std::optional<T>& out) {
  co_await fresh_clock(loop);
  T value = co_await task;
  out.emplace(std::move(value));
  loop.stop();
}

inline Task<> run_and_stop(EventLoop& loop, Task<> task) {
  co_await fresh_clock(loop);
  co_await task;
  loop.stop();
}
}  // namespace detail

template <typename T>
T run_task(EventLoop& loop, Task<T> task) {
  Gate gate;
  std::optional<T> out;
  spawn(gate, detail::run_and_store(loop, std::move(task), out));
  loop.run();
  return std::move(*out);
}

inline void run_task(EventLoop& loop, Task<> task) {
  Gate gate;
  spawn(gate, detail::run_and_stop(loop, std::move(task)));
  loop.run();
}

// Lets the loop run for a while.
inline void run_for_ms(EventLoop& loop, std::uint64_t duration_ms) {
  struct Sleep {
    static Task<> run(EventLoop& loop, std::uint64_t duration_ms) {
      co_await loop.sleep_ms(duration_ms);
    }
  };
  run_task(loop, Sleep::run(loop, duration_ms));
}

}  // namespace rram::test
