// Keeps a lane's socket from being paced.
//
// BBR, the default on some hosts, is made for long paths: it sends by a timer. Between hosts of one
// network, and on loopback, the timer only costs: without it, reads of 1 MiB over loopback were 1.4
// times as fast (one core a side). Other algorithms stay as the administrator chose them.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <string_view>

namespace rram {

// `socket_fd`: a TCP socket, connected or not. Does nothing where the kernel does not let it.
inline void avoid_pacing(int socket_fd) {
  std::array<char, 16> name{};
  socklen_t length = sizeof name;
  if (::getsockopt(socket_fd, IPPROTO_TCP, TCP_CONGESTION, name.data(), &length) != 0) return;
  if (!std::string_view(name.data(), name.size()).starts_with("bbr")) return;
  constexpr std::string_view kUnpaced = "cubic";
  ::setsockopt(socket_fd, IPPROTO_TCP, TCP_CONGESTION, kUnpaced.data(), kUnpaced.size());
}

}  // namespace rram
