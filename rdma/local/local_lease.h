// A pool inside the requester itself (`local:SIZE`): one command gives a working mount, and the
// other transports have a specification to be compared with.
//
// `null:SIZE` has the same shape and no memory: a write is dropped, a read leaves its buffer as it
// is. It is a tool for benchmarks (the ceiling of everything above the transport), never for files.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/event_loop.h"
#include "base/mapping.h"
#include "rdma/endpoint.h"
#include "rdma/held_lease.h"

namespace rram {

class LocalLease final : public HeldLease {
 public:
  // `endpoint`: kLocal or kNull. `wanted_bytes`: as in LeaseOptions, rounded up to whole regions.
  // Memory is taken from the host page by page, when it is first written. Errors: kNoSpace if the
  // endpoint is smaller than wanted; kUnavailable if the host has not that much memory free.
  static Result<std::unique_ptr<HeldLease>> create(const Endpoint& endpoint,
                                                   std::uint64_t wanted_bytes);

  [[nodiscard]] std::string_view transport_name() const override;
  [[nodiscard]] std::string provider_text() const override { return endpoint_text(endpoint_); }
  [[nodiscard]] const std::vector<RemoteRegion>& regions() const override { return regions_; }
  Task<Result<std::unique_ptr<Lane>>> open_lane(EventLoop& loop, std::uint64_t lane,
                                                TimeLimit limit) override;
  Task<Status> reconnect(std::uint64_t timeout_ms) override;
  Task<> release(std::uint64_t timeout_ms) override;

 private:
  LocalLease(const Endpoint& endpoint, Mapping memory, std::vector<RemoteRegion> regions);

  Endpoint endpoint_;
  Mapping memory_;  // none for `null`
  std::vector<RemoteRegion> regions_;
};

}  // namespace rram
