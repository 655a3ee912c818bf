// Waits for RDMA connection requests on one address, also when the device that has the address is
// taken away and comes back.
//
// Belongs to the thread of its loop. It may be destroyed after close() has resumed.
#pragma once

#include <sys/socket.h>

#include <memory>
#include <string_view>

#include "base/event_loop.h"
#include "base/gate.h"
#include "base/notice.h"
#include "base/result.h"
#include "base/task.h"
#include "rdma/verbs/cm_endpoint.h"
#include "rdma/verbs/connect_data.h"

namespace rram {

// A connection request. Whoever drops it has not answered it: the requester's attempt times out.
struct VerbsRequest {
  UniqueCmChannel channel;  // of the id alone: it outlives the listener's
  UniqueCmId id;            // after the channel: it goes first
  ConnectData data{};
  sockaddr_storage peer{};
  std::uint8_t responder_resources = 0;
  std::uint8_t initiator_depth = 0;
};

class VerbsListener {
 public:
  // Whether create() would succeed; nothing stays open.
  static Status check(const sockaddr_storage& address);
  // `address` with its port; 0.0.0.0 and :: stand for every device, also those that come later.
  static Result<std::unique_ptr<VerbsListener>> create(EventLoop& loop,
                                                       const sockaddr_storage& address);

  // The next request of this protocol; others are rejected here. kCancelled after close().
  // kUnavailable is no end, but news: the address was lost or is back, as the message says; the
  // next call listens on, or tries to listen again every second.
  Task<Result<VerbsRequest>> next_request();
  [[nodiscard]] std::uint16_t port() const;
  Task<> close();

 private:
  VerbsListener(std::unique_ptr<CmEndpoint> endpoint, const sockaddr_storage& address);

  Task<Result<VerbsRequest>> request_or_news();
  Task<Error> lose(std::string_view why);
  Task<bool> listen_again();

  EventLoop& loop_;
  sockaddr_storage address_;              // with the real port
  std::unique_ptr<CmEndpoint> endpoint_;  // null while the address is lost
  Notice closing_notice_;
  Gate calls_;  // of next_request()
};

// Answers a request with a no and a sentence (cut where it is too long for the wire).
void reject(UniqueCmId id, std::string_view why);

}  // namespace rram
