// The provider's RDMA side, as the provider sees it: where connections arrive, and what happens to
// the memory of a lease. Its implementation is rdma/verbs/verbs_service.cc, or, in a build without
// verbs, rdma/verbs_absent.cc, which refuses everything with a sentence.
#pragma once

#include <sys/socket.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/task.h"
#include "rdma/control/provider_channel.h"
#include "rdma/wire/frames.h"

namespace rram {

// A requester that wants an RDMA connection. Exactly one of the two is called; both may be copied.
struct VerbsArrival {
  sockaddr_storage peer{};
  std::string device;  // of this host, over which it came
  // Accepts it, on the thread of the loop that will serve it.
  std::function<Result<std::unique_ptr<ProviderChannel>>(EventLoop&)> accept;
  // Refuses it with a sentence for the requester. Any thread.
  std::function<void(std::string_view why)> refuse;
};

// One address at which RDMA connections arrive. Belongs to the thread of its loop, except creation
// and destruction.
class VerbsPort {
 public:
  virtual ~VerbsPort() = default;
  VerbsPort(const VerbsPort&) = delete;
  VerbsPort& operator=(const VerbsPort&) = delete;

  // With the real port.
  [[nodiscard]] virtual std::uint16_t port() const = 0;
  // kCancelled after close(). kUnavailable is news: the address lost its device or has one again,
  // as the message says. The port goes on by itself.
  virtual Task<Result<VerbsArrival>> next_arrival() = 0;
  // It may be destroyed when this has resumed.
  virtual Task<> close() = 0;

 protected:
  VerbsPort() = default;
};

// Everything RDMA of one provider. Any thread.
class VerbsService {
 public:
  static std::unique_ptr<VerbsService> create();
  virtual ~VerbsService() = default;
  VerbsService(const VerbsService&) = delete;
  VerbsService& operator=(const VerbsService&) = delete;

  // Whether connections could arrive at `address`; the failure says why not.
  virtual Status check(const sockaddr_storage& address) = 0;
  // Listens there; the port is used by `loop` from its first next_arrival() on.
  virtual Result<std::unique_ptr<VerbsPort>> listen(EventLoop& loop,
                                                    const sockaddr_storage& address) = 0;
  // The lease is fenced: all its connections are gone. No device reaches its memory afterwards.
  virtual void drop(const LeaseId& lease) = 0;

 protected:
  VerbsService() = default;
};

}  // namespace rram
