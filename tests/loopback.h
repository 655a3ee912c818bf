// A TCP socket on a free port of loopback, for tests that play one end of a connection themselves.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "rdma/endpoint.h"

namespace rram::test {

struct LoopbackSocket {
  UniqueFd fd;
  sockaddr_in address{};

  [[nodiscard]] Endpoint endpoint() const {
    Endpoint made;
    made.scheme = Endpoint::Scheme::kTcp;
    made.host = "127.0.0.1";
    made.port = ntohs(address.sin_port);
    return made;
  }
};

// Bound, not listening.
inline LoopbackSocket bind_on_loopback() {
  LoopbackSocket made{UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), {}};
  made.address.sin_family = AF_INET;
  made.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof made.address;
  auto* raw = reinterpret_cast<sockaddr*>(&made.address);
  EXPECT_EQ(::bind(made.fd.get(), raw, length), 0);
  EXPECT_EQ(::getsockname(made.fd.get(), raw, &length), 0);
  return made;
}

}  // namespace rram::test
