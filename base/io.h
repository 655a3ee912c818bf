// Awaitable I/O on an EventLoop: `const int received = co_await recv_some(loop, fd, buffer);`
// Each resumes with what the system call would return: >= 0, or -errno. A buffer belongs to the
// operation until it resumes. To end a socket operation early, ::shutdown() the socket.
#pragma once

#include <liburing.h>
#include <sys/socket.h>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "base/event_loop.h"

namespace rram {

template <typename Prepare>
class [[nodiscard]] RingAwaiter final : public RingCompletion {
 public:
  RingAwaiter(EventLoop& loop, Prepare prepare) : loop_(loop), prepare_(std::move(prepare)) {}

  static constexpr bool await_ready() noexcept { return false; }
  void await_suspend(std::coroutine_handle<> awaiter) {
    awaiter_ = awaiter;
    loop_.submit_with(this, prepare_);
  }
  [[nodiscard]] int await_resume() const noexcept { return result_; }

  void on_completion(std::int32_t result, std::uint32_t /*flags*/) override {
    result_ = result;
    awaiter_.resume();
  }

 private:
  EventLoop& loop_;
  Prepare prepare_;
  std::coroutine_handle<> awaiter_;
  int result_ = 0;
};

// At least one byte, at most buffer.size(); 0: the peer has closed.
inline auto recv_some(EventLoop& loop, int fd, std::span<std::byte> buffer, int flags = 0) {
  return RingAwaiter(loop, [fd, buffer, flags](io_uring_sqe* entry) {
    io_uring_prep_recv(entry, fd, buffer.data(), buffer.size(), flags);
  });
}

// All of buffer, or less if the connection ends first.
inline auto send_all(EventLoop& loop, int fd, std::span<const std::byte> buffer) {
  return RingAwaiter(loop, [fd, buffer](io_uring_sqe* entry) {
    io_uring_prep_send(entry, fd, buffer.data(), buffer.size(), MSG_WAITALL | MSG_NOSIGNAL);
  });
}

// `message` and all that it points at must live until it resumes.
inline auto recv_message(EventLoop& loop, int fd, msghdr* message, unsigned flags) {
  return RingAwaiter(loop, [fd, message, flags](io_uring_sqe* entry) {
    io_uring_prep_recvmsg(entry, fd, message, flags);
  });
}

inline auto send_message(EventLoop& loop, int fd, const msghdr* message, unsigned flags) {
  return RingAwaiter(loop, [fd, message, flags](io_uring_sqe* entry) {
    io_uring_prep_sendmsg(entry, fd, message, flags | MSG_NOSIGNAL);
  });
}

// The new connection's descriptor.
inline auto accept_connection(EventLoop& loop, int listening_fd) {
  return RingAwaiter(loop, [listening_fd](io_uring_sqe* entry) {
    io_uring_prep_accept(entry, listening_fd, nullptr, nullptr, SOCK_CLOEXEC);
  });
}

inline auto connect_socket(EventLoop& loop, int fd, const sockaddr* address,
                           socklen_t address_bytes) {
  return RingAwaiter(loop, [fd, address, address_bytes](io_uring_sqe* entry) {
    io_uring_prep_connect(entry, fd, address, address_bytes);
  });
}

// The poll events that came.
inline auto poll_once(EventLoop& loop, int fd, unsigned events) {
  return RingAwaiter(
      loop, [fd, events](io_uring_sqe* entry) { io_uring_prep_poll_add(entry, fd, events); });
}

}  // namespace rram
