#include "rdma/control/descriptor_passing.h"

#include <sys/socket.h>

#include <array>
#include <cassert>
#include <cstring>
#include <span>

#include "base/io.h"
#include "rdma/wire/frames.h"

namespace rram {

Task<Status> send_with_descriptors(EventLoop& loop, int socket_fd, std::vector<std::byte> frame,
                                   std::vector<int> descriptors) {
  assert(!descriptors.empty() && descriptors.size() <= kMaxDescriptorsPerFrame);
  const std::size_t descriptor_bytes = descriptors.size() * sizeof(int);
  DescriptorSpace control;
  control.bytes.fill(std::byte{0});
  iovec part{frame.data(), frame.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes.data();
  message.msg_controllen = CMSG_SPACE(descriptor_bytes);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(descriptor_bytes);
  std::memcpy(CMSG_DATA(header), descriptors.data(), descriptor_bytes);
  const int sent = co_await send_message(loop, socket_fd, &message, 0);
  if (sent < 0) co_return fail_errno(-sent, "passing memory to the requester");
  // The descriptors travel with the first byte; what is left of the frame follows without them.
  const std::span<const std::byte> rest =
      std::span<const std::byte>(frame).subspan(static_cast<std::size_t>(sent));
  if (rest.empty()) co_return Status{};
  const int rest_sent = co_await send_all(loop, socket_fd, rest);
  if (rest_sent < 0) co_return fail_errno(-rest_sent, "passing memory to the requester");
  co_return Status{};
}

}  // namespace rram
