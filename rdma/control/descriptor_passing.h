// The provider's end of same-host sharing: a frame with file descriptors beside it, over a Unix
// socket.
#pragma once

#include <cstddef>
#include <vector>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/task.h"

namespace rram {

// Sends `frame` by one sendmsg() together with `descriptors` (at most kMaxDescriptorsPerFrame),
// which stay open here and must stay open until this resumes. Errors: kDisconnected and others, as
// the socket says.
Task<Status> send_with_descriptors(EventLoop& loop, int socket_fd, std::vector<std::byte> frame,
                                   std::vector<int> descriptors);

}  // namespace rram
