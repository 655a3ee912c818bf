// A worker: one thread with one event loop, its memory, and its lanes to every provider. It carries
// a request from the kernel to its reply without handing it to another thread.
//
// Owned by main. What is not marked otherwise is for the worker's own thread.
#pragma once

#include <cstddef>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "base/event_loop.h"
#include "base/gate.h"
#include "base/mapping.h"
#include "base/result.h"
#include "base/task.h"
#include "fusefs/provider_link.h"
#include "fusefs/scratch_pool.h"

namespace rram {

struct WorkerOptions {
  unsigned index = 0;
  bool pins_to_cpu = false;           // to the CPU of its index
  std::size_t front_arena_bytes = 0;  // for the front end's payload buffers
  std::size_t stripe_unit_bytes = 0;
  std::size_t granule_bytes = 0;
  std::uint64_t operation_timeout_ms = 5000;
  std::uint64_t spin_limit_ns = 0;  // EventLoop::set_spin_limit()
};

class Worker {
 public:
  // Starts the thread; returns when its loop runs. kUnavailable: no io_uring, no memory.
  static Result<std::unique_ptr<Worker>> start(const WorkerOptions& options);
  // Stops the loop and joins the thread; all work has been ended before.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  [[nodiscard]] unsigned index() const { return options_.index; }
  [[nodiscard]] EventLoop& loop() { return *loop_; }

  // Requests and background work that are under way; closed at the end.
  [[nodiscard]] Gate& running() { return running_; }

  // The front end's part of the arena, page aligned.
  [[nodiscard]] std::span<std::byte> front_arena() const { return front_arena_; }
  // All memory that a lane may be given; registered with every lane.
  [[nodiscard]] std::span<std::byte> arena() const { return arena_.bytes(); }
  // A granule of zeros, to be written where a file must read as zeros.
  [[nodiscard]] std::span<std::byte> zeros() const { return zeros_; }
  [[nodiscard]] ScratchPool& scratch() { return scratch_; }

  // By provider index.
  [[nodiscard]] ProviderLink& link(unsigned provider) { return *links_[provider]; }
  [[nodiscard]] std::vector<std::unique_ptr<ProviderLink>>& links() { return links_; }

  // When an operation started now must have ended.
  [[nodiscard]] std::uint64_t operation_deadline_ns() const {
    return loop_->now_ns() + options_.operation_timeout_ms * 1'000'000;
  }
  // Until when a request taken from the kernel now may start operations, on the clock of
  // EventLoop::running_ns(): it may wait for others on the same file, or need several operations
  // one after the other.
  [[nodiscard]] std::uint64_t request_deadline_ns() const {
    return loop_->running_ns() + 2 * options_.operation_timeout_ms * 1'000'000;
  }
  [[nodiscard]] bool is_overdue(std::uint64_t request_deadline_ns) const {
    return loop_->running_ns() >= request_deadline_ns;
  }

  // Runs a task on the worker's thread and waits for its result; for threads that may block (main).
  template <typename T>
  T run_blocking(std::function<Task<T>()> make_task) {
    return run_async<T>(std::move(make_task)).get();
  }
  template <typename T>
  std::future<T> run_async(std::function<Task<T>()> make_task) {
    auto promise = std::make_shared<std::promise<T>>();
    loop_->post([this, promise, make_task = std::move(make_task)] {
      spawn(blocking_, fulfil<T>(make_task, promise));
    });
    return promise->get_future();
  }

 private:
  explicit Worker(const WorkerOptions& options) : options_(options) {}

  template <typename T>
  static Task<> fulfil(std::function<Task<T>()> make_task,
                       std::shared_ptr<std::promise<T>> promise) {
    T result = co_await make_task();
    promise->set_value(std::move(result));
  }

  Status set_up();
  void thread_main(std::promise<Status> started);

  const WorkerOptions options_;
  std::unique_ptr<EventLoop> loop_;
  Mapping arena_;
  std::span<std::byte> front_arena_;
  std::span<std::byte> zeros_;
  ScratchPool scratch_;
  Gate running_;
  Gate blocking_;  // what run_blocking() runs
  std::vector<std::unique_ptr<ProviderLink>> links_;
  std::thread thread_;
};

}  // namespace rram
