// A stream socket, TCP or Unix, as a ByteChannel. Over a Unix socket descriptors may come along.
#pragma once

#include <sys/socket.h>

#include <coroutine>
#include <optional>

#include "base/event_loop.h"
#include "rdma/control/byte_channel.h"

namespace rram {

class SocketChannel final : public ByteChannel {
 public:
  SocketChannel(EventLoop& loop, UniqueFd socket) : loop_(loop), socket_(std::move(socket)) {}

  [[nodiscard]] int fd() const { return socket_.get(); }
  // For whoever carries something else over the socket from now on.
  UniqueFd take_socket() { return std::move(socket_); }

  Task<int> receive(std::span<std::byte> buffer, std::uint64_t deadline_ns) override;
  void call_off_receive() override { reception_.call_off(); }
  std::vector<UniqueFd> take_descriptors() override { return std::move(descriptors_); }
  Task<int> send(std::span<const std::byte> bytes) override;
  bool send_now(std::span<const std::byte> bytes) override;
  void end_sending() override;
  void shut_down() override;
  Task<> close() override;

 private:
  // A receive that a timer, or the loop's thread, can call off.
  class Reception final : public RingCompletion {
   public:
    explicit Reception(SocketChannel& channel) : channel_(channel) {}
    static constexpr bool await_ready() noexcept { return false; }
    void await_suspend(std::coroutine_handle<> awaiter);
    [[nodiscard]] int await_resume() const noexcept { return result_; }
    void on_completion(std::int32_t result, std::uint32_t flags) override;
    void call_off();

    msghdr message{};  // set before each await
    std::uint64_t deadline_ns = 0;

   private:
    SocketChannel& channel_;
    std::coroutine_handle<> awaiter_;
    std::optional<EventLoop::TimerId> timer_;
    bool is_overdue_ = false;
    int result_ = 0;
  };

  void keep_descriptors(msghdr& message);

  EventLoop& loop_;
  UniqueFd socket_;
  Reception reception_{*this};
  std::vector<UniqueFd> descriptors_;
};

}  // namespace rram
