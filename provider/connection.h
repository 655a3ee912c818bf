// One accepted connection, from its first byte to its last: drives the ProviderSession, then, on a
// data connection, lets the transport's DataServer serve.
//
// Owned by its worker, lives on that worker's thread. It may be destroyed when serve() has resumed;
// then no I/O of it is in flight, and its lease knows that it is gone.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/fd.h"
#include "base/gate.h"
#include "base/task.h"
#include "provider/context.h"
#include "provider/lease_table.h"
#include "provider/unproved.h"
#include "rdma/control/provider_channel.h"
#include "rdma/session/provider_session.h"
#include "rdma/wire/frame_reader.h"

namespace rram {

// Who is at the other end, as far as the kernel knows.
struct Peer {
  std::string text;  // "192.168.64.35 port 40112", "pid 4711"
  std::string host;  // "192.168.64.35", "this host"
  // For limits of what an address may have: the host, or, of IPv6, its network.
  std::string network;
  bool is_unix = false;
  bool is_tcp = false;
  // Set: not admitted. The connection only exists to say so.
  std::optional<Error> refusal;
  WireError refusal_code = WireError::kRefused;
  // With a refusal: counts this one among the refused for as long as it is here.
  std::shared_ptr<std::atomic<std::uint32_t>> refused_count;
  // Without one: given up once it has a lease.
  UnprovedPlaces::Place unproved_place;
};

// A connection that is, or may become, a lane: counted for as long as this exists.
struct LaneUncounter {
  void operator()(std::atomic<std::uint32_t>* count) const {
    count->fetch_sub(1, std::memory_order_relaxed);
  }
};
using CountedLane = std::unique_ptr<std::atomic<std::uint32_t>, LaneUncounter>;
inline CountedLane count_lane(std::atomic<std::uint32_t>& count) {
  count.fetch_add(1, std::memory_order_relaxed);
  return CountedLane(&count);
}

class Connection {
 public:
  Connection(EventLoop& loop, const ProviderContext& context, WorkerCounters& counters,
             ConnectionId id, std::unique_ptr<ProviderChannel> channel, Peer peer,
             CountedLane lane);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  Task<> serve();
  // From the lease, or from the provider that is being stopped.
  void obey(const ConnectionOrder& order);

 private:
  struct Outgoing {
    FrameBytes bytes;
    std::vector<int> descriptors;  // of segments of the lease, which outlive this connection
    std::optional<RecordKeys> record_keys = std::nullopt;  // set: what is queued behind is sealed
  };

  // Resumes when nothing is being sent.
  struct AllSent {
    Connection& connection;
    [[nodiscard]] bool await_ready() const noexcept { return !connection.is_sending_; }
    void await_suspend(std::coroutine_handle<> awaiter) const noexcept {
      connection.sent_waiter_ = awaiter;
    }
    static constexpr void await_resume() noexcept {}
  };

  Task<> converse();
  Task<> answer_request();
  Task<> prepare_and_grant(LeaseTerms terms);
  Task<> join_and_answer(HeldLeaseView held);
  Task<> serve_data();
  Task<> say_goodbye();
  Task<> send_outgoing();

  void carry_out(ProviderActions actions);
  void act(SendFrame&& action);
  void act(const StartRecords& action);
  void act(SendDescriptors&& action);
  void act(const WantLease& action);
  void act(const WantAttach& action);
  void act(const WantStats& action);
  void act(const WantRelease& action);
  void act(const CloseConnection& action);
  void refuse(const Error& error, WireError otherwise);

  void send(Outgoing outgoing);
  Task<bool> send_one(Outgoing next);
  void watch_deadline();
  void on_deadline();
  void begin_linger();
  void leave_lease();
  [[nodiscard]] std::string requester_text() const;
  [[nodiscard]] std::vector<std::span<std::byte>> lease_memory() const;

  EventLoop& loop_;
  const ProviderContext& context_;
  WorkerCounters& counters_;
  const ConnectionId id_;
  const std::unique_ptr<ProviderChannel> channel_;
  Peer peer_;
  CountedLane counted_lane_;  // empty once it is known to be a control connection

  ProviderSession session_;
  FrameReader reader_;
  std::vector<std::uint32_t> segments_;  // of the lease that this connection works on
  std::optional<LeaseId> lease_id_;      // attached to it until leave_lease()
  // A lease that was granted or joined, while its memory is being made ready for this connection.
  std::optional<HeldLeaseView> unanswered_;
  bool may_reach_memory_ = false;  // join() has succeeded
  Departure departure_ = Departure::kClosed;
  bool is_peer_gone_ = false;
  bool awaits_records_ = false;  // the session wants records, and the channel has none yet

  std::deque<Outgoing> outgoing_;
  bool is_sending_ = false;
  Gate sends_;                           // the sending coroutine
  std::coroutine_handle<> sent_waiter_;  // resumed when outgoing_ is empty
  std::optional<EventLoop::TimerId> session_timer_;
  std::optional<EventLoop::TimerId> linger_timer_;
  DataServer* data_server_ = nullptr;  // while it serves
};

}  // namespace rram
