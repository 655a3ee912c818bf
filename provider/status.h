// Asks a running provider for its counters: `rram-provider --status`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "rdma/endpoint.h"
#include "rdma/session/preshared_key.h"
#include "rdma/wire/frames.h"

namespace rram {

// Connects, asks, and closes; takes no lease. `endpoint`: kTcp, kAny (taken as TCP) or kUnix.
// Blocks up to `timeout_ms` for each step. Errors name the endpoint.
Result<StatsReply> query_stats(Endpoint endpoint, std::optional<PresharedKey> key,
                               std::uint64_t timeout_ms);

// A JSON object with one key for each counter, as docs/protocol.md names them.
std::string stats_json(const StatsReply& stats);

}  // namespace rram
