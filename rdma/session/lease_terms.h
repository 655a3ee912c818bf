// What both sides of a session know about a lease.
#pragma once

#include <cstdint>

#include "rdma/wire/frames.h"

namespace rram {

struct LeaseTerms {
  LeaseId lease_id{};
  LeaseToken token{};  // secret
  std::uint64_t region_bytes = 0;
  std::uint32_t region_count = 0;
  std::uint32_t heartbeat_interval_ms = 1000;
  std::uint32_t grace_ms = 30'000;  // the lease outlives a silent requester by this

  [[nodiscard]] std::uint64_t size_bytes() const { return region_bytes * region_count; }
  friend bool operator==(const LeaseTerms&, const LeaseTerms&) = default;
};

}  // namespace rram
