// RDMA connections to one provider, through librdmacm.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "rdma/control/dial.h"
#include "rdma/control/dialer.h"
#include "rdma/verbs/local_memory.h"

namespace rram {

class VerbsDialer final : public Dialer {
 public:
  // `endpoint`: kVerbs. `device`: the only RDMA device to use; empty: whichever leads there.
  VerbsDialer(Endpoint endpoint, std::string device, std::shared_ptr<LocalMemories> memories)
      : endpoint_(std::move(endpoint)),
        device_(std::move(device)),
        memories_(std::move(memories)) {}

  [[nodiscard]] const Endpoint& endpoint() const override { return endpoint_; }
  // A VerbsChannel; of a data connection with room for a lane's work.
  Task<Result<std::unique_ptr<ByteChannel>>> dial(EventLoop& loop, std::optional<LeaseId> lease,
                                                  std::uint64_t deadline_ns) override;

  // The memory that lanes over this channel's device use.
  Result<std::shared_ptr<LocalMemory>> memory_for(ibv_context& device) {
    return memories_->of(device);
  }

 private:
  Task<Result<std::unique_ptr<ByteChannel>>> connect(EventLoop& loop, SocketAddress address,
                                                     std::optional<LeaseId> lease,
                                                     std::uint64_t deadline_ns);
  [[nodiscard]] std::unexpected<Error> fail_with(ErrorCode code, std::string_view why) const;

  const Endpoint endpoint_;
  const std::string device_;
  const std::shared_ptr<LocalMemories> memories_;
  std::optional<SocketAddress> address_;  // set by the first call and constant after it
};

}  // namespace rram
