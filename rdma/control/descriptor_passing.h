// The provider's end of same-host sharing: a frame with file descriptors beside it, over a Unix
// socket.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <vector>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/task.h"
#include "rdma/wire/frames.h"

namespace rram {

// Room for the descriptors that travel with one message. A type of its own, because g++ 12 forgets
// the alignment of a variable in a coroutine, but not that of a type.
struct DescriptorSpace {
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kMaxDescriptorsPerFrame * sizeof(int))> bytes;
};

// Sends `frame` by one sendmsg() together with `descriptors` (at most kMaxDescriptorsPerFrame),
// which stay open here and must stay open until this resumes. Errors: kDisconnected and others, as
// the socket says.
Task<Status> send_with_descriptors(EventLoop& loop, int socket_fd, std::vector<std::byte> frame,
                                   std::vector<int> descriptors);

}  // namespace rram
