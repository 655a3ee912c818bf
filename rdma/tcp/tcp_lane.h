// The requester's end of a data connection over a stream socket, TCP or Unix, which has finished
// its handshake (ATTACHED).
//
// At most one send and one receive are under way. What is submitted during a turn of the loop
// leaves at its end in one message; the replies that have come by then are taken with one receive,
// their payload straight into the buffers of the Operations. An idle connection is watched, so that
// its end is noticed before the next Operation needs it.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <coroutine>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/event_loop.h"
#include "base/fd.h"
#include "rdma/tcp/data_stream.h"
#include "rdma/transport.h"

namespace rram {

class TcpLane final : public Lane, private Flusher {
 public:
  // `peer`: the provider, for messages: "tcp://10.0.0.1:7470 (node1)".
  TcpLane(EventLoop& loop, UniqueFd socket, std::string peer, LaneIdentity identity = {});
  ~TcpLane() override;

  [[nodiscard]] std::string_view transport_name() const override { return "tcp"; }
  Task<> close() override;

 private:
  // One submission that may be under way; its completion calls a member of the lane.
  template <void (TcpLane::*kOnEnd)(std::int32_t result, std::uint32_t flags)>
  class Pending final : public RingCompletion {
   public:
    explicit Pending(TcpLane& lane) : lane_(lane) {}
    [[nodiscard]] bool is_under_way() const { return under_way_; }

    template <typename Prepare>
    void submit(Prepare&& prepare) {
      under_way_ = true;
      lane_.loop().submit_with(this, prepare);
    }
    void cancel() {
      if (under_way_) lane_.loop().cancel(*this);
    }
    void on_completion(std::int32_t result, std::uint32_t flags) override {
      under_way_ = false;
      (lane_.*kOnEnd)(result, flags);
    }

   private:
    TcpLane& lane_;
    bool under_way_ = false;
  };

  void do_submit(Operation& operation) override;
  void flush() override;

  void start_send();
  void on_send_end(std::int32_t result, std::uint32_t flags);
  void start_receive();
  void on_receive_end(std::int32_t result, std::uint32_t flags);
  void start_watch();
  void on_watch_end(std::int32_t result, std::uint32_t flags);

  void deliver_finished();
  void on_tick();
  // The lane is broken from now on; what is in flight fails as soon as nothing can touch its
  // buffers any more.
  void break_lane(Error reason);
  [[nodiscard]] bool is_quiet() const;
  void fail_all_when_quiet();
  [[nodiscard]] std::string end_of_stream_text() const;

  static constexpr std::size_t kMaxSendParts = 128;
  static constexpr std::size_t kMaxReceiveParts = 64;

  UniqueFd socket_;
  std::string peer_;
  DataStream stream_;
  bool has_stray_ = false;         // the idle connection has something to say
  bool receive_has_more_ = false;  // the last receive left bytes in the socket

  Pending<&TcpLane::on_send_end> send_{*this};
  std::array<iovec, kMaxSendParts> send_parts_;
  msghdr send_message_{};

  Pending<&TcpLane::on_receive_end> receive_{*this};
  std::array<iovec, kMaxReceiveParts> receive_parts_;
  msghdr receive_message_{};

  Pending<&TcpLane::on_watch_end> watch_{*this};
  std::optional<EventLoop::TimerId> tick_;
  std::coroutine_handle<> closer_;  // waits in close()
};

}  // namespace rram
