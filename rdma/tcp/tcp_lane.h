// The requester's end of a data connection over a stream socket, TCP or Unix, which has finished
// its handshake (ATTACHED).
//
// At most one send and one receive are under way. What is submitted during a turn of the loop
// leaves at its end in one message; the replies that have come by then are taken with one receive,
// their payload straight into the buffers of the Operations. An idle connection is watched, so that
// its end is noticed before the next Operation needs it.
//
// Where the connection travels in records, they stand between DataStream and the socket. Before
// their keys are used up the lane takes another connection in place of its own: Operations wait
// meanwhile, those in flight are finished first, none fails.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <boost/intrusive/list.hpp>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/event_loop.h"
#include "base/fd.h"
#include "base/gate.h"
#include "base/result.h"
#include "base/task.h"
#include "rdma/record/record_stream.h"
#include "rdma/tcp/data_stream.h"
#include "rdma/transport.h"

namespace rram {

// A connection that travels in records, and how the lane gets the next one.
struct SealedConnection {
  UniqueFd socket;
  std::unique_ptr<RecordStream> records;
};
struct Sealing {
  std::unique_ptr<RecordStream> records;  // null: none
  std::uint64_t records_before_renewal = 0;
  std::uint64_t patience_ms = 0;  // how long the lane tries to take the next connection
  // A connection in this lane's place, for the same thread; the one before it is closed.
  std::function<Task<Result<SealedConnection>>()> reopen;
};

class TcpLane final : public Lane, private Flusher {
 public:
  // `peer`: the provider, for messages: "tcp://10.0.0.1:7470 (node1)".
  TcpLane(EventLoop& loop, UniqueFd socket, std::string peer, LaneIdentity identity = {},
          Sealing sealing = {});
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

  Status start_send();
  Status seal_next();
  void on_send_end(std::int32_t result, std::uint32_t flags);
  void start_receive();
  void receive_in_place();
  void receive_sealed();
  void post_receive(int flags);
  void on_receive_end(std::int32_t result, std::uint32_t flags);
  void start_watch();
  void on_watch_end(std::int32_t result, std::uint32_t flags);

  Status take_received(std::size_t received_bytes);
  Status take_opened();

  void deliver_finished();
  // Resumes when nothing is under way.
  struct Quiet {
    TcpLane& lane;
    [[nodiscard]] bool await_ready() const { return lane.is_quiet(); }
    void await_suspend(std::coroutine_handle<> awaiter) const { lane.quiet_waiter_ = awaiter; }
    void await_resume() const {}
  };
  void begin_renewal_if_due();
  Task<> renew();
  void go_on_with(SealedConnection fresh);
  [[nodiscard]] const Operation* find_overdue(std::uint64_t now_ns) const;

  void on_tick();
  // The lane is broken from now on; what is in flight fails as soon as nothing can touch its
  // buffers any more.
  void break_lane(Error reason);
  void end_what_is_under_way();
  [[nodiscard]] bool is_quiet() const;
  // The socket is being left, for good or for the next one.
  [[nodiscard]] bool is_leaving() const { return is_broken() || renewal_ == Renewal::kLeaving; }
  void on_end_while_leaving();
  void fail_all();
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
  std::coroutine_handle<> quiet_waiter_;  // in close() or in renew(): never both

  Sealing sealing_;
  iovec sealed_part_{};  // what is sent, where there are records
  iovec sealed_room_{};  // and received
  // Of the stream, in records that have not all left.
  std::size_t stream_bytes_in_records_ = 0;
  enum class Renewal : std::uint8_t {
    kNone,
    kDraining,  // what is in the stream is finished first
    kLeaving,   // one connection is closed, the next is made
  };
  Renewal renewal_ = Renewal::kNone;
  boost::intrusive::list<Operation, boost::intrusive::constant_time_size<false>> waiting_;
  Gate renewing_;
};

}  // namespace rram
