// From an endpoint to a connected stream socket: name lookup, connecting, socket options. Nothing
// here blocks the loop, and everything has a deadline.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/fd.h"
#include "base/result.h"
#include "base/task.h"
#include "rdma/endpoint.h"

namespace rram {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length_bytes = 0;
};

// The addresses of an endpoint's first host, in the order in which they should be tried, or the
// path of a Unix socket. A name is looked up on a thread of its own. Times are of
// EventLoop::now_ns(). Errors: kNotFound (no such name), kTimedOut.
Task<Result<std::vector<SocketAddress>>> resolve(EventLoop& loop, Endpoint endpoint,
                                                 std::uint64_t deadline_ns);

// True if `address` is one of this host's own.
bool is_own_address(const SocketAddress& address);

// A socket connected to one of the endpoint's addresses. The sentence of a failure names the
// endpoint, why, and what to do.
Task<Result<UniqueFd>> connect_socket(EventLoop& loop, Endpoint endpoint, SocketAddress address,
                                      std::uint64_t deadline_ns);

}  // namespace rram
