// A stream socket, TCP or Unix, as a ByteChannel. Over a Unix socket descriptors may come along;
// over TCP the bytes may travel in records from some point on.
#pragma once

#include <sys/socket.h>

#include <coroutine>
#include <memory>
#include <optional>

#include "base/event_loop.h"
#include "rdma/control/byte_channel.h"
#include "rdma/record/record_stream.h"

namespace rram {

class SocketChannel final : public ByteChannel {
 public:
  SocketChannel(EventLoop& loop, UniqueFd socket) : loop_(loop), socket_(std::move(socket)) {}

  [[nodiscard]] int fd() const { return socket_.get(); }
  // For whoever carries something else over the socket from now on.
  UniqueFd take_socket() { return std::move(socket_); }
  // The records that travel over it, with what was received and not read yet; null: none do.
  [[nodiscard]] RecordStream* records() { return records_.get(); }
  std::unique_ptr<RecordStream> take_records() { return std::move(records_); }

  Task<int> receive(std::span<std::byte> buffer, std::uint64_t deadline_ns) override;
  Task<int> receive_unread(std::span<std::byte> buffer) override;
  void call_off_receive() override { reception_.call_off(); }
  std::vector<UniqueFd> take_descriptors() override { return std::move(descriptors_); }
  Task<int> send(std::span<const std::byte> bytes) override;
  bool send_now(std::span<const std::byte> bytes) override;
  Status start_records(const RecordKeys& keys) override;
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

  Task<int> receive_raw(std::span<std::byte> buffer, std::uint64_t deadline_ns);
  Task<int> receive_opened(std::span<std::byte> buffer, std::uint64_t deadline_ns);
  Task<int> send_sealed(std::span<const std::byte> bytes);
  bool send_raw_now(std::span<const std::byte> bytes);
  void keep_descriptors(msghdr& message);

  EventLoop& loop_;
  UniqueFd socket_;
  Reception reception_{*this};
  std::vector<UniqueFd> descriptors_;
  std::unique_ptr<RecordStream> records_;
};

}  // namespace rram
