// One worker's way to one provider: its lane while there is one, and otherwise why there is none
// and the work of making another. Operations are given to the link, which never waits for a lane:
// with none, they fail at once.
//
// Owned by its worker, on the worker's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/event_loop.h"
#include "base/gate.h"
#include "base/result.h"
#include "base/task.h"
#include "rdma/held_lease.h"
#include "rdma/transport.h"

namespace rram {

class MountedProvider;

class ProviderLink {
 public:
  // `lane`: the number of its lanes in the lease. `arena`: all memory that operations will name.
  ProviderLink(EventLoop& loop, MountedProvider& provider, std::uint64_t lane,
               std::span<std::byte> arena);
  ~ProviderLink();
  ProviderLink(const ProviderLink&) = delete;
  ProviderLink& operator=(const ProviderLink&) = delete;

  // The first lane; the link is of no use before.
  Task<Status> open(CallOff call_off = {});

  // The operation's region is one of the provider's (region()).
  void submit(Operation& operation);
  [[nodiscard]] const RemoteRegion& region(std::uint32_t index) const;

  // Ends the lane; everything in flight has completed when it resumes.
  Task<> close();

 private:
  Task<Status> open_lane(TimeLimit limit);
  void on_lane_broken(const Error& reason);
  Task<> replace_lane();

  EventLoop& loop_;
  MountedProvider& provider_;
  const std::uint64_t lane_number_;
  std::span<std::byte> arena_;
  std::unique_ptr<Lane> lane_;
  ErrorCode refusal_ = ErrorCode::kDisconnected;  // what operations get while there is no lane
  Gate replacing_;
};

}  // namespace rram
