// The one place that knows every transport: from an endpoint to a held lease.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/task.h"
#include "rdma/endpoint.h"
#include "rdma/held_lease.h"

namespace rram {

struct ConnectedLease {
  std::unique_ptr<HeldLease> lease;
  // Where several transports were tried: what was taken and why not the others, one sentence each.
  std::vector<std::string> notes;
};

// What the leases of one mount share, for LeaseOptions::rdma_memories: buffers are registered with
// an RDMA device once, not once for each provider. Null in a build without verbs.
std::shared_ptr<LocalMemories> make_rdma_memories();

// Whether connections to `endpoint` can be encrypted: TCP alone can, and what stays in this process
// need not be. Errors: kInvalidArgument, with what to do.
Status check_tls(const Endpoint& endpoint, bool has_key);

// Connects to `endpoint` and takes a lease. On failure the message names the endpoint, why, and
// what to do. Runs on `loop`'s thread.
Task<Result<ConnectedLease>> connect_lease(EventLoop& loop, Endpoint endpoint,
                                           LeaseOptions options);

}  // namespace rram
