#include "base/task.h"

#include <gtest/gtest.h>

#include <coroutine>
#include <memory>
#include <string>

#include "base/gate.h"

namespace rram {
namespace {

// Resumed by hand.
struct Suspension {
  std::coroutine_handle<> handle;
  auto operator co_await() {
    struct Awaiter {
      Suspension& suspension;
      static bool await_ready() { return false; }
      void await_suspend(std::coroutine_handle<> awaiter) const { suspension.handle = awaiter; }
      void await_resume() const {}
    };
    return Awaiter{*this};
  }
};

Task<int> add(int a, int b) { co_return a + b; }

Task<int> sum_to(int n) {
  int sum = 0;
  for (int i = 1; i <= n; ++i) {
    const int next = co_await add(sum, i);
    sum = next;
  }
  co_return sum;
}

Task<> store(Task<int> task, int& out) {
  const int value = co_await task;
  out = value;
}

TEST(Task, awaiting_many_tasks_in_a_loop_needs_no_stack) {
  Gate gate;
  int sum = 0;
  spawn(gate, store(sum_to(5'000), sum));
  EXPECT_EQ(sum, 5'000 / 2 * 5'001);
}

Task<> set_true(bool& started) {
  started = true;
  co_return;
}

TEST(Task, nothing_runs_before_it_is_awaited_and_dropping_it_is_fine) {
  bool started = false;
  {
    const Task<> dropped = set_true(started);
  }
  EXPECT_FALSE(started);
}

Task<> wait_on(Suspension& suspension, std::shared_ptr<int> held) {
  co_await suspension;
  *held += 1;
}

Task<> close_gate(Gate& gate, bool& closed) {
  co_await gate.close();
  closed = true;
}

TEST(Gate, close_resumes_only_when_all_work_has_ended_and_its_frames_are_gone) {
  Gate gate;
  Gate outer;
  Suspension first;
  Suspension second;
  auto held = std::make_shared<int>(0);
  spawn(gate, wait_on(first, held));
  spawn(gate, wait_on(second, held));
  bool closed = false;
  spawn(outer, close_gate(gate, closed));
  EXPECT_TRUE(gate.is_closed());
  first.handle.resume();
  EXPECT_FALSE(closed);
  second.handle.resume();
  EXPECT_TRUE(closed);
  EXPECT_EQ(*held, 2);
  EXPECT_EQ(held.use_count(), 1);
}

TEST(Gate, closing_an_idle_gate_resumes_at_once) {
  Gate gate;
  Gate outer;
  bool closed = false;
  spawn(outer, close_gate(gate, closed));
  EXPECT_TRUE(closed);
}

}  // namespace
}  // namespace rram
