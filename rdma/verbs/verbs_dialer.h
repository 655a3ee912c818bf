// RDMA connections to one provider, through librdmacm.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "rdma/control/dialer.h"
#include "rdma/verbs/local_memory.h"

namespace rram {

class VerbsDialer final : public Dialer {
 public:
  // `endpoint`: kVerbs. `device`: the only RDMA device to use; empty: whichever leads there. dial()
  // gives a VerbsChannel; for a data connection with room for a lane's work.
  VerbsDialer(Endpoint endpoint, std::string device, std::shared_ptr<LocalMemories> memories)
      : Dialer(std::move(endpoint)), device_(std::move(device)), memories_(std::move(memories)) {}

 private:
  Task<Result<std::unique_ptr<ByteChannel>>> connect(EventLoop& loop, Endpoint endpoint,
                                                     SocketAddress address,
                                                     std::optional<LeaseId> lease,
                                                     std::uint64_t deadline_ns) override;

  const std::string device_;
  const std::shared_ptr<LocalMemories> memories_;
};

}  // namespace rram
