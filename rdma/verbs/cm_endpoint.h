// One id of the RDMA connection manager: an end of a connection, or a listener. It has an event
// channel of its own, which the event loop watches from the first next_event() on.
//
// Belongs to the thread of its loop. It may be destroyed before the first next_event(), and after
// close() has resumed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/notice.h"
#include "base/result.h"
#include "base/task.h"
#include "rdma/verbs/handles.h"

namespace rram {

struct CmEvent {
  rdma_cm_event_type type{};
  int status = 0;            // -errno, or the peer's reason of a rejection
  rdma_cm_id* id = nullptr;  // of a connection request: the new id, owned by the receiver
  std::vector<std::byte> private_data;  // what the peer sent along
  std::uint8_t responder_resources = 0;
  std::uint8_t initiator_depth = 0;
};

// Why an event channel could not be made.
std::string no_rdma_text(int errno_value);
// An event channel that does not block. kUnavailable, with the remedy.
Result<UniqueCmChannel> make_cm_channel();

// "RDMA_CM_EVENT_REJECTED (status 8)"
std::string cm_event_text(const CmEvent& event);

class CmEndpoint {
 public:
  // A new id. kUnavailable, with the remedy: this host has no RDMA connection manager.
  static Result<std::unique_ptr<CmEndpoint>> create(EventLoop& loop);
  // An id that came with a connection request, with an event channel of its own.
  static std::unique_ptr<CmEndpoint> adopt(EventLoop& loop, UniqueCmChannel channel, UniqueCmId id);
  ~CmEndpoint();
  CmEndpoint(const CmEndpoint&) = delete;
  CmEndpoint& operator=(const CmEndpoint&) = delete;

  [[nodiscard]] rdma_cm_id* id() const { return id_.get(); }
  [[nodiscard]] EventLoop& loop() const { return loop_; }

  // The next event in the order in which they came; kTimedOut at the deadline, kCancelled once
  // close() was called. One waiter.
  Task<Result<CmEvent>> next_event(std::uint64_t deadline_ns);

  // Resumes when the loop watches nothing of this object any more.
  Task<> close();

 private:
  // Watches the event channel.
  class Watch final : public RingCompletion {
   public:
    explicit Watch(CmEndpoint& endpoint) : endpoint_(endpoint) {}
    void on_completion(std::int32_t result, std::uint32_t flags) override;

   private:
    CmEndpoint& endpoint_;
  };

  CmEndpoint(EventLoop& loop, UniqueCmChannel channel, UniqueCmId id);
  void watch();
  void take_events();

  EventLoop& loop_;
  UniqueCmChannel channel_;
  UniqueCmId id_;  // before the channel in the order of destruction
  Watch watch_{*this};
  bool is_watched_ = false;
  bool is_closing_ = false;
  std::deque<CmEvent> events_;
  Notice event_notice_;
  Notice closed_notice_;
};

}  // namespace rram
