// A lane over RDMA: READ and WRITE of the provider's memory by the NIC, one-sided. Nobody at the
// provider runs for it.
//
// What is submitted during a turn of the loop is posted at its end with one doorbell; what the send
// queue does not take waits in the lane, in order. An Operation is cut into pieces where the device
// moves less at once.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/intrusive/list.hpp>

#include "base/notice.h"
#include "rdma/transport.h"
#include "rdma/verbs/local_memory.h"
#include "rdma/verbs/verbs_channel.h"
#include "rdma/wire/frames.h"

namespace rram {

class VerbsLane final : public Lane, private Flusher, private WorkTarget {
 public:
  // `channel`: after the handshake of a data connection (ATTACHED). `memory`: of its device.
  // `regions`: of the lease, as this channel's device at the provider names them.
  VerbsLane(EventLoop& loop, std::unique_ptr<VerbsChannel> channel,
            std::shared_ptr<LocalMemory> memory, std::vector<RegionEntry> regions, std::string peer,
            LaneIdentity identity = {});
  ~VerbsLane() override;

  [[nodiscard]] std::string_view transport_name() const override { return "verbs"; }
  Status announce_arena(std::span<std::byte> arena) override;
  Task<> close() override;

 private:
  using Operations = boost::intrusive::list<Operation, boost::intrusive::constant_time_size<false>>;
  struct Arena {
    std::span<std::byte> bytes;
    std::shared_ptr<ibv_mr> region;
  };

  void do_submit(Operation& operation) override;
  void flush() override;
  void on_work_done(const WorkResult& result) override;

  void post_piece(Operation& operation);
  void finish_piece(Operation& operation, bool is_good);
  [[nodiscard]] std::optional<std::uint32_t> key_of(std::span<const std::byte> bytes) const;
  void on_tick();
  void break_lane(Error reason);
  [[nodiscard]] Error in_peers_name(const Error& reason) const;
  void fail_waiting();
  [[nodiscard]] ErrorCode failure_of(const Operation& operation);

  std::unique_ptr<VerbsChannel> channel_;
  QueuePair& queue_pair_;
  const std::shared_ptr<LocalMemory> memory_;
  const std::vector<RegionEntry> regions_;
  const std::string peer_;
  const std::size_t max_piece_bytes_;
  std::vector<Arena> arenas_;
  bool is_ending_ = false;

  Operations operations_;                          // all that are in flight, oldest first
  Operations::iterator next_ = operations_.end();  // the first that is not posted completely
  std::optional<EventLoop::TimerId> tick_;
};

}  // namespace rram
