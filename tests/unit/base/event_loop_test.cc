#include "base/event_loop.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/gate.h"
#include "base/io.h"
#include "base/task.h"

namespace rram {
namespace {

std::unique_ptr<EventLoop> make_loop(bool large_entries = false) {
  Result<std::unique_ptr<EventLoop>> loop =
      EventLoop::create({.submission_entries = 8,
                         .completion_entries = 64,
                         .large_submission_entries = large_entries});
  EXPECT_TRUE(loop.has_value()) << loop.error().message;
  return std::move(*loop);
}

std::array<UniqueFd, 2> socket_pair() {
  int fds[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

TEST(EventLoop, work_posted_from_other_threads_runs_in_order_of_each_thread) {
  auto loop = make_loop();
  constexpr int kThreads = 4;
  constexpr int kPosts = 1000;
  std::vector<std::vector<int>> seen(kThreads);
  std::atomic<int> left = kThreads * kPosts;
  std::vector<std::jthread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kPosts; ++i) {
        loop->post([&, t, i] {
          seen[static_cast<std::size_t>(t)].push_back(i);
          if (--left == 0) loop->stop();
        });
      }
    });
  }
  loop->run();
  for (const std::vector<int>& numbers : seen) {
    ASSERT_EQ(numbers.size(), static_cast<std::size_t>(kPosts));
    EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end()));
  }
}

TEST(EventLoop, timers_fire_in_the_order_of_their_time_and_not_when_cancelled) {
  auto loop = make_loop();
  std::vector<int> fired;
  const std::uint64_t now_ns = loop->now_ns();
  loop->call_at(now_ns + 3'000'000, [&] {
    fired.push_back(3);
    loop->stop();
  });
  loop->call_at(now_ns + 1'000'000, [&] { fired.push_back(1); });
  const EventLoop::TimerId cancelled =
      loop->call_at(now_ns + 2'000'000, [&] { fired.push_back(2); });
  loop->cancel_timer(cancelled);
  loop->run();
  EXPECT_EQ(fired, (std::vector<int>{1, 3}));
  EXPECT_GE(loop->now_ns(), now_ns + 3'000'000);
}

Task<> receive_in_pieces(EventLoop& loop, int fd, int& received, EventLoop::TimerId deadline) {
  std::array<std::byte, 1> piece;
  for (int i = 0; i < 20; ++i) {
    const int count = co_await recv_some(loop, fd, piece);
    if (count != 1) break;
    ++received;
  }
  loop.cancel_timer(deadline);
  loop.stop();
}

TEST(EventLoop, what_came_while_the_process_was_stopped_is_seen_before_deadlines_that_passed) {
  auto loop = make_loop();
  auto [near, far] = socket_pair();
  bool is_overdue = false;
  int received = 0;
  const EventLoop::TimerId deadline = loop->call_at(loop->now_ns() + 100'000'000, [&] {
    is_overdue = true;
    loop->stop();
  });
  Gate gate;
  spawn(gate, receive_in_pieces(*loop, far.get(), received, deadline));
  // Twice, the second time before timers have run again.
  loop->post([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(450));
    loop->post([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(800));
      EXPECT_EQ(::send(near.get(), "twenty bytes, at once", 20, 0), 20);
    });
  });
  loop->run();
  EXPECT_FALSE(is_overdue);
  EXPECT_EQ(received, 20);
  near.reset();
  if (gate.running() > 0) loop->run();  // it was stopped in the middle
}

TEST(EventLoop, timers_run_even_if_every_turn_is_late) {
  auto loop = make_loop();
  int turns = 0;
  std::function<void()> be_slow = [&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(400));
    if (++turns < 10) loop->post(be_slow);
  };
  loop->call_at(loop->now_ns() + 1, [&] { loop->stop(); });
  loop->post(be_slow);
  loop->run();
  EXPECT_LT(turns, 8);
}

// Has something after so many looks.
class SlowQueue final : public Poller {
 public:
  SlowQueue(EventLoop& loop, int looks) : loop_(loop), looks_left_(looks) {}

  bool poll() override {
    ++polls_;
    if (--looks_left_ > 0) return false;
    loop_.stop();
    return true;
  }
  [[nodiscard]] bool is_expecting() const override { return is_expecting_; }
  bool arm() override {
    ++arms_;
    return false;
  }

  void expect_nothing() { is_expecting_ = false; }
  [[nodiscard]] int polls() const { return polls_; }
  [[nodiscard]] int arms() const { return arms_; }

 private:
  EventLoop& loop_;
  int looks_left_;
  bool is_expecting_ = true;
  int polls_ = 0;
  int arms_ = 0;
};

TEST(EventLoop, with_a_spin_limit_it_looks_at_its_pollers_before_it_sleeps) {
  auto loop = make_loop();
  SlowQueue queue(*loop, 50);
  loop->set_spin_limit(10'000'000'000);
  loop->expect(queue);
  loop->arm_later(queue);
  loop->run();
  EXPECT_EQ(queue.polls(), 50);
  EXPECT_EQ(queue.arms(), 0) << "it must not have prepared to sleep";
  loop->forget(queue);
}

TEST(EventLoop, spinning_sees_what_comes_by_the_ring_too) {
  auto loop = make_loop();
  SlowQueue queue(*loop, 2'000'000'000);
  loop->set_spin_limit(10'000'000'000);
  loop->expect(queue);
  const std::uint64_t begin_ns = monotonic_ns();
  const std::jthread other([&loop] { loop->post([&loop] { loop->stop(); }); });
  loop->run();
  EXPECT_LT(monotonic_ns() - begin_ns, 5'000'000'000U);
  loop->forget(queue);
}

TEST(EventLoop, without_a_limit_or_without_work_under_way_it_sleeps_at_once) {
  auto loop = make_loop();
  SlowQueue queue(*loop, 2'000'000'000);
  loop->expect(queue);  // without a limit
  loop->arm_later(queue);
  loop->call_at(loop->now_ns() + 1'000'000, [&] {
    queue.expect_nothing();
    loop->set_spin_limit(10'000'000'000);
    loop->expect(queue);
    loop->arm_later(queue);
    loop->call_at(loop->now_ns() + 1'000'000, [&] { loop->stop(); });
  });
  loop->run();
  EXPECT_EQ(queue.polls(), 0);
  EXPECT_EQ(queue.arms(), 2) << "once for each time that it was asked for";
  loop->forget(queue);
}

Task<> echo(EventLoop& loop, int fd, int rounds) {
  std::array<std::byte, 64> buffer{};
  for (int i = 0; i < rounds; ++i) {
    const int received = co_await recv_some(loop, fd, buffer);
    EXPECT_GT(received, 0);
    const int sent =
        co_await send_all(loop, fd, std::span(buffer).first(static_cast<std::size_t>(received)));
    EXPECT_EQ(sent, received);
  }
}

Task<> ask(EventLoop& loop, int fd, int rounds, int& answers) {
  for (int i = 0; i < rounds; ++i) {
    std::array<std::byte, 8> question{};
    std::memcpy(question.data(), &i, sizeof i);
    const int sent = co_await send_all(loop, fd, question);
    EXPECT_EQ(sent, 8);
    std::array<std::byte, 8> answer{};
    const int received = co_await recv_some(loop, fd, answer);
    EXPECT_EQ(received, 8);
    if (answer == question) ++answers;
  }
  loop.stop();
}

class EventLoopEntries : public testing::TestWithParam<bool> {};

// More submissions in flight than the queue has entries, with entries of either size.
TEST_P(EventLoopEntries, many_coroutines_talk_over_sockets_on_one_thread) {
  auto loop = make_loop(GetParam());
  constexpr int kRounds = 200;
  Gate gate;
  const auto ends = socket_pair();
  int answers = 0;
  spawn(gate, echo(*loop, ends[0].get(), kRounds));
  spawn(gate, ask(*loop, ends[1].get(), kRounds, answers));
  loop->run();
  EXPECT_EQ(answers, kRounds);
  EXPECT_EQ(gate.running(), 0U);
}

Task<> receive_forever(EventLoop& loop, int fd, int& result) {
  std::array<std::byte, 8> buffer{};
  const int received = co_await recv_some(loop, fd, buffer);
  result = received;
  loop.stop();
}

TEST_P(EventLoopEntries, shutdown_ends_a_receive_that_waits) {
  auto loop = make_loop(GetParam());
  Gate gate;
  const auto ends = socket_pair();
  int result = -1;
  spawn(gate, receive_forever(*loop, ends[0].get(), result));
  loop->post([&] { ::shutdown(ends[0].get(), SHUT_RDWR); });
  loop->run();
  EXPECT_EQ(result, 0);
}

INSTANTIATE_TEST_SUITE_P(EntrySizes, EventLoopEntries, testing::Bool());

class CountingFlusher final : public Flusher {
 public:
  void flush() override { ++flushes; }
  int flushes = 0;
};

TEST(EventLoop, a_flusher_runs_once_a_turn_however_often_it_is_asked_for) {
  auto loop = make_loop();
  CountingFlusher flusher;
  CountingFlusher forgotten;
  loop->post([&] {
    loop->flush_later(flusher);
    loop->flush_later(flusher);
    loop->flush_later(forgotten);
    loop->forget(forgotten);
    loop->post([&] { loop->stop(); });
  });
  loop->run();
  EXPECT_EQ(flusher.flushes, 1);
  EXPECT_EQ(forgotten.flushes, 0);
}

Task<> hop(EventLoop& home, EventLoop& other, std::thread::id& there, std::thread::id& back) {
  co_await other.resume_here();
  there = std::this_thread::get_id();
  co_await home.resume_here();
  back = std::this_thread::get_id();
  home.stop();
}

TEST(EventLoop, a_coroutine_moves_to_another_thread_and_back) {
  auto home = make_loop();
  std::promise<EventLoop*> other_ready;
  std::future<EventLoop*> other = other_ready.get_future();
  const std::jthread thread([&] {
    auto loop = make_loop();
    other_ready.set_value(loop.get());
    loop->run();
  });
  EventLoop* other_loop = other.get();
  Gate gate;
  std::thread::id there;
  std::thread::id back;
  home->post([&] { spawn(gate, hop(*home, *other_loop, there, back)); });
  home->run();
  EXPECT_EQ(there, thread.get_id());
  EXPECT_EQ(back, std::this_thread::get_id());
  other_loop->post([=] { other_loop->stop(); });
}

}  // namespace
}  // namespace rram
