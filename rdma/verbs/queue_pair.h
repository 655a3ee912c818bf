// A reliable connected queue pair and its completion queue, watched by the event loop. Whoever
// posts work is told of each piece of it exactly once, in order, also of what was not signalled and
// of what was cut off when the queue pair failed.
//
// Belongs to the thread of its loop. It may be destroyed after close() has resumed.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "base/event_loop.h"
#include "base/notice.h"
#include "base/result.h"
#include "base/task.h"
#include "rdma/verbs/cm_endpoint.h"
#include "rdma/verbs/handles.h"

namespace rram {

// How one piece of work ended.
struct WorkResult {
  std::uint64_t cookie = 0;  // the poster's own
  ibv_wc_status status = IBV_WC_SUCCESS;
  std::uint32_t received_bytes = 0;  // of a receive
  std::uint32_t immediate = 0;       // of a receive; what the sender gave, 0 if nothing
};

// Why a connection has failed of which a piece of work ended so.
Error work_failure(ibv_wc_status status);

class WorkTarget {
 public:
  WorkTarget() = default;
  WorkTarget(const WorkTarget&) = delete;
  WorkTarget& operator=(const WorkTarget&) = delete;
  virtual void on_work_done(const WorkResult& result) = 0;

 protected:
  ~WorkTarget() = default;
};

class QueuePair final : private Poller {
 public:
  struct Options {
    unsigned send_entries = 0;
    unsigned receive_entries = 0;
    unsigned inline_bytes = 0;  // wanted; the device may give less
    // The peer may touch no memory until allow_remote_access(), and then only what the domain has.
    // Such a queue pair is brought to life by accept() instead of rdma_accept(), which would give
    // the rights away.
    bool is_guarded = false;
  };
  // On the endpoint's id, which knows its device. What the device cannot give is cut to what it
  // can.
  static Result<std::unique_ptr<QueuePair>> create(CmEndpoint& endpoint, ibv_pd& domain,
                                                   const Options& options);
  ~QueuePair();
  QueuePair(const QueuePair&) = delete;
  QueuePair& operator=(const QueuePair&) = delete;

  [[nodiscard]] ibv_qp* handle() const { return owned_.get(); }

  // Guarded: answers the connection request of the endpoint's id.
  Status accept(std::uint8_t responder_resources, std::uint8_t initiator_depth);
  Status allow_remote_access();
  [[nodiscard]] unsigned inline_bytes() const { return inline_bytes_; }

  // How much more work the send queue takes now.
  [[nodiscard]] unsigned free_send_entries() const {
    return send_entries_ - static_cast<unsigned>(sends_.size());
  }
  // Gathers one request, of one piece of memory (none if `memory.length` is 0), for the next
  // submit(). There must be a free entry. wr_id, next and signalling are filled in here.
  void add_send(ibv_send_wr request, ibv_sge memory, WorkTarget& target, std::uint64_t cookie);
  // Hands what was gathered to the device, with one doorbell.
  void submit();
  void post_receive(ibv_sge memory, WorkTarget& target, std::uint64_t cookie);
  // Takes what has completed, without waiting for the loop to see it; true if something had.
  bool poll() override;

  [[nodiscard]] bool is_failed() const { return is_failed_; }
  // Called once, from the loop or from a poster's call, when work failed; not by fail().
  void set_on_failed(std::function<void(ibv_wc_status)> handler) {
    on_failed_ = std::move(handler);
  }

  // Ends all that is under way: the device lets go of every buffer before this returns, and every
  // target has been told.
  void fail();
  // fail(), and resumes when the loop watches nothing of this object any more.
  Task<> close();

 private:
  struct Posted {
    WorkTarget* target;
    WorkResult result;  // success, until its completion says otherwise
  };
  // A queue of posted work in order; numbers go on for ever.
  struct Fifo {
    std::deque<Posted> posted;
    std::uint64_t first_number = 0;
    [[nodiscard]] std::size_t size() const { return posted.size(); }
  };
  class Watch final : public RingCompletion {
   public:
    explicit Watch(QueuePair& queue_pair) : queue_pair_(queue_pair) {}
    void on_completion(std::int32_t result, std::uint32_t flags) override;

   private:
    QueuePair& queue_pair_;
  };

  [[nodiscard]] bool is_expecting() const override { return !is_failed_ && sends_.size() > 0; }
  bool arm() override;

  explicit QueuePair(CmEndpoint& endpoint)
      : loop_(endpoint.loop()), id_(endpoint.id()), closed_notice_(endpoint.loop()) {}
  Status make(ibv_pd& domain, const Options& options, ibv_qp_init_attr& wanted);
  Status advance(ibv_qp_state state, std::uint8_t responder_resources,
                 std::uint8_t initiator_depth);
  void watch();
  void take_event();
  // The first bad status, or success.
  ibv_wc_status take_completions();
  void dispatch(const ibv_wc& completion);
  void finish(Fifo& fifo, std::uint64_t number, const ibv_wc& completion);
  void abandon(Fifo& fifo);
  void report_failure(ibv_wc_status status);

  // Every so many requests one is signalled, besides the last of a batch: the device frees entries
  // only then.
  static constexpr unsigned kSignalInterval = 16;
  // Completions taken at once: a peer that sends without end must not keep the loop.
  static constexpr unsigned kMaxTakenAtOnce = 256;
  static constexpr std::uint64_t kReceiveBit = std::uint64_t{1} << 63;

  EventLoop& loop_;
  rdma_cm_id* const id_;
  UniqueCompletionChannel channel_;
  UniqueCompletionQueue completions_;
  OwnedQueuePair owned_;
  unsigned send_entries_ = 0;
  unsigned inline_bytes_ = 0;

  // The newest of sends_, which the device does not have yet.
  std::vector<ibv_send_wr> batch_;
  std::vector<ibv_sge> batch_memory_;
  // Completions that were taken from the device and not dispatched yet. A target may call back into
  // this object, which then goes on here: the order is what says which work has succeeded.
  std::array<ibv_wc, 16> taken_;
  std::size_t taken_next_ = 0;
  std::size_t taken_count_ = 0;
  std::uint64_t dispatched_ = 0;
  bool is_armed_ = true;  // the next completion makes an event
  Fifo sends_;
  Fifo receives_;
  bool is_failed_ = false;
  std::function<void(ibv_wc_status)> on_failed_;

  Watch watch_{*this};
  bool is_watched_ = false;
  bool is_closing_ = false;
  Notice closed_notice_;
};

}  // namespace rram
