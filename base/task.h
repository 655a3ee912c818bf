// Coroutines. A Task is lazy (it starts when it is awaited), has one owner and one awaiter, and
// resumes its awaiter by symmetric transfer. Everything happens on the thread that resumes it.
//
// Rules (g++ 12 is known to bite): a coroutine that outlives its caller takes parameters by value;
// no capturing lambda is a coroutine; a co_await result gets a name of its own before it is used.
#pragma once

#include <cassert>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <utility>

namespace rram {

// Frames come from a pool of the thread: no trip to malloc per request in the steady state.
void* allocate_frame(std::size_t size_bytes);
void free_frame(void* frame, std::size_t size_bytes);

namespace detail {

struct FrameAllocation {
  static void* operator new(std::size_t size_bytes) { return allocate_frame(size_bytes); }
  static void operator delete(void* frame, std::size_t size_bytes) {
    free_frame(frame, size_bytes);
  }
};

struct FinalAwaiter {
  static constexpr bool await_ready() noexcept { return false; }
  template <typename Promise>
  static std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> finished) noexcept {
    return finished.promise().continuation;
  }
  static constexpr void await_resume() noexcept {}
};

struct PromiseBase : FrameAllocation {
  std::coroutine_handle<> continuation = std::noop_coroutine();

  static std::suspend_always initial_suspend() noexcept { return {}; }
  static FinalAwaiter final_suspend() noexcept { return {}; }
  // Nothing in the project throws on purpose; what does escape is a bug.
  [[noreturn]] static void unhandled_exception() noexcept { std::terminate(); }
};

template <typename T>
struct Promise : PromiseBase {
  std::optional<T> value;
  std::coroutine_handle<Promise> get_return_object() noexcept {
    return std::coroutine_handle<Promise>::from_promise(*this);
  }
  template <typename U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
};

template <>
struct Promise<void> : PromiseBase {
  std::coroutine_handle<Promise> get_return_object() noexcept {
    return std::coroutine_handle<Promise>::from_promise(*this);
  }
  static void return_void() noexcept {}
};

}  // namespace detail

template <typename T = void>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  Task(Handle handle) : handle_(handle) {}  // NOLINT(google-explicit-constructor)
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&&) = delete;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  ~Task() {
    if (handle_) handle_.destroy();
  }

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiter) noexcept {
    handle_.promise().continuation = awaiter;
    return handle_;
  }
  T await_resume() {
    if constexpr (!std::is_void_v<T>) {
      assert(handle_.promise().value.has_value());
      return std::move(*handle_.promise().value);
    }
  }

 private:
  Handle handle_;
};

// A coroutine that owns itself: it starts at once and frees its frame at its end. Only spawn() in
// base/gate.h makes one, so that somebody always waits for its end.
struct Detached {
  struct promise_type : detail::FrameAllocation {
    static Detached get_return_object() noexcept { return {}; }
    static std::suspend_never initial_suspend() noexcept { return {}; }
    static std::suspend_never final_suspend() noexcept { return {}; }
    static void return_void() noexcept {}
    [[noreturn]] static void unhandled_exception() noexcept { std::terminate(); }
  };
};

}  // namespace rram
