// The provider's end of one lane over a stream socket (TCP or Unix): receives READ and WRITE and
// carries them out on the lease's memory. Payload is received into that memory and sent from it;
// the only payload bytes that are copied are those that came together with a request into the
// look-ahead buffer.
//
// What every receive asks for: [rest of the payload of the current WRITE -> its place][look-ahead].
// So requests come in batches without a system call each. While WRITEs are small the look-ahead is
// wide, because a system call costs more than the copy of a small payload; after a large one it is
// narrow. Replies gather while completions are handled and leave with one sendmsg at the turn's
// end, one in flight at a time.
//
// Where the connection travels in records, they stand between all that and the socket: received
// bytes go to the same places record by record, each after it was checked, and replies are sealed
// from the lease's memory.
//
// Owned by the connection's coroutine; lives on the thread of its loop. It may be destroyed when
// serve() has resumed.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/task.h"
#include "rdma/control/provider_channel.h"
#include "rdma/record/record_stream.h"
#include "rdma/wire/codec.h"
#include "rdma/wire/frames.h"

namespace rram {

class TcpResponder final : public DataServer, private Flusher {
 public:
  // Requests that may wait for their replies to leave; beyond it nothing is received.
  static constexpr std::size_t kMaxQueuedReplies = 256;

  // `socket_fd`, `records` (null: there are none), `counters` and the memory of `regions` outlive
  // this object. `regions`: the segments of the lease, in its order, of equal size.
  TcpResponder(EventLoop& loop, int socket_fd, RecordStream* records,
               std::vector<std::span<std::byte>> regions, DataCounters& counters);
  ~TcpResponder() override;

  Task<Status> serve() override;

  // Ends the connection now, whatever the peer does: an ERROR frame if the socket takes it at once,
  // then shutdown. serve() resumes soon after.
  void stop(WireError code, std::string_view text) override;

 private:
  // 16 requests; what is copied of a large WRITE at most.
  static constexpr std::size_t kNarrowLookAheadBytes = 512;
  static constexpr std::size_t kWideLookAheadBytes = std::size_t{64} << 10;
  static constexpr std::uint32_t kSmallWriteBytes = 16U << 10;

  struct Reply {
    FrameHeader header;
    std::span<const std::byte> payload;
  };

  // What has to happen before the next request can be taken.
  enum class Need : std::uint8_t { kBytes, kRepliesSent, kEnd };

  class Reception final : public RingCompletion {
   public:
    explicit Reception(TcpResponder& responder) : responder_(responder) {}
    static constexpr bool await_ready() noexcept { return false; }
    void await_suspend(std::coroutine_handle<> awaiter);
    [[nodiscard]] int await_resume() const noexcept { return result_; }
    void on_completion(std::int32_t result, std::uint32_t flags) override;

   private:
    TcpResponder& responder_;
    std::coroutine_handle<> awaiter_;
    int result_ = 0;
    bool expect_bytes_ = false;  // the last receive left some in the socket
  };

  class Transmission final : public RingCompletion {
   public:
    explicit Transmission(TcpResponder& responder) : responder_(responder) {}
    void on_completion(std::int32_t result, std::uint32_t flags) override;

   private:
    TcpResponder& responder_;
  };

  // Resumes after the send that is in flight, or at once if there is none.
  struct SendEnd {
    TcpResponder& responder;
    [[nodiscard]] bool await_ready() const noexcept { return responder.sending_.empty(); }
    void await_suspend(std::coroutine_handle<> awaiter) const noexcept {
      responder.send_waiter_ = awaiter;
    }
    static constexpr void await_resume() noexcept {}
  };

  Need take_buffered();
  Need take_request();
  Need begin_write();
  void finish_write();
  void take_payload();
  Need refuse(WireError code, Error reason);
  void prepare_reception();
  void receive_into(std::span<std::byte> bytes);
  void take_received(std::size_t received_bytes);
  Result<bool> accept_opened();
  void accept_received(std::size_t received_bytes);

  [[nodiscard]] std::size_t buffered_bytes() const { return look_end_ - look_begin_; }
  [[nodiscard]] bool is_being_read(std::span<const std::byte> memory) const;

  void queue_reply(const FrameHeader& header, std::span<const std::byte> payload);
  void flush() override;
  void submit_send();
  bool seal_parts();
  bool skip_parts(std::size_t bytes);
  void send_now(std::span<const std::byte> frame);
  void give_up_sending(Error reason);
  void end_sending();
  void on_sent(std::int32_t result);

  EventLoop& loop_;
  const int socket_fd_;
  RecordStream* const records_;
  const std::vector<std::span<std::byte>> regions_;
  const RegionLimits limits_;
  DataCounters& counters_;

  // Receiving.
  Reception reception_{*this};
  std::vector<std::byte> look_ahead_;
  std::size_t look_ahead_limit_ = kNarrowLookAheadBytes;
  std::size_t look_begin_ = 0;
  std::size_t look_end_ = 0;
  DataRequest request_{};            // the WRITE whose payload is coming
  std::span<std::byte> write_rest_;  // where the rest of it goes
  bool is_request_pending_ = false;  // request_ was checked but must wait for replies to leave
  std::array<iovec, 2> receive_parts_{};
  msghdr receive_message_{};

  // Sending.
  Transmission transmission_{*this};
  std::vector<Reply> queued_;
  std::vector<Reply> sending_;
  std::vector<iovec> send_parts_;
  std::size_t next_part_ = 0;
  iovec sealed_part_{};
  msghdr send_message_{};
  std::coroutine_handle<> send_waiter_;
  std::vector<std::byte> error_frame_;

  std::optional<Error> ending_;  // why serve() will end
  bool is_stopped_ = false;
};

}  // namespace rram
