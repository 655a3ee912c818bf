#include "tests/process/provider_raw_requester.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "rdma/wire/text.h"

namespace rram::test {

namespace {

UniqueFd connect_tcp(const Endpoint& provider) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(provider.port);
  ::inet_pton(AF_INET, provider.host.c_str(), &address.sin_addr);
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  const int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

UniqueFd connect_unix(const Endpoint& provider) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, provider.path.data(), provider.path.size());
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  return fd;
}

}  // namespace

RawRequester::RawRequester(const Endpoint& provider)
    : RawRequester(provider.scheme == Endpoint::Scheme::kUnix ? connect_unix(provider)
                                                              : connect_tcp(provider)) {}

RawRequester::RawRequester(UniqueFd connected) : fd_(std::move(connected)) {
  const timeval limit{5, 0};
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

void RawRequester::send(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;  // the provider may have had enough; the test will see it
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
}

void RawRequester::send_with_descriptors(std::span<const std::byte> bytes, int descriptor,
                                         std::size_t count) {
  const std::vector<int> descriptors(count, descriptor);
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(64 * sizeof(int))> control{};
  std::byte first = bytes.front();
  iovec part{&first, 1};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = CMSG_SPACE(count * sizeof(int));
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(count * sizeof(int));
  std::memcpy(CMSG_DATA(header), descriptors.data(), count * sizeof(int));
  EXPECT_EQ(::sendmsg(fd_.get(), &message, MSG_NOSIGNAL), 1);
  send(bytes.subspan(1));
}

void RawRequester::close_sending() { ::shutdown(fd_.get(), SHUT_WR); }

bool RawRequester::receive_exactly(std::span<std::byte> bytes, std::vector<UniqueFd>& descriptors) {
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(64 * sizeof(int))> control;
  while (!bytes.empty()) {
    iovec part{bytes.data(), bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t received = ::recvmsg(fd_.get(), &message, MSG_CMSG_CLOEXEC);
    // With a time limit on the socket, the end of an io_uring on this thread interrupts it.
    if (received < 0 && errno == EINTR) continue;
    if (received <= 0) return false;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
      const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
        descriptors.emplace_back(fd);
      }
    }
    bytes = bytes.subspan(static_cast<std::size_t>(received));
  }
  return true;
}

std::optional<RawFrame> RawRequester::receive() {
  RawFrame frame;
  std::array<std::byte, sizeof(FrameHeader)> header{};
  if (!receive_exactly(header, frame.descriptors)) return std::nullopt;
  std::memcpy(&frame.header, header.data(), sizeof frame.header);
  frame.body.resize(frame.header.body_bytes);
  if (!receive_exactly(frame.body, frame.descriptors)) return std::nullopt;
  return frame;
}

bool RawRequester::is_closed_by_peer() {
  receive_rest();
  return is_at_end_;
}

std::vector<std::byte> RawRequester::receive_rest() {
  std::vector<std::byte> all;
  std::array<std::byte, 65536> piece;
  ssize_t received = 1;
  while (received > 0 || (received < 0 && errno == EINTR)) {
    received = ::recv(fd_.get(), piece.data(), piece.size(), 0);
    if (received > 0) all.insert(all.end(), piece.begin(), piece.begin() + received);
  }
  is_at_end_ = received == 0 || errno == ECONNRESET;
  return all;
}

std::optional<WireError> RawRequester::receive_error() {
  const std::optional<RawFrame> frame = receive();
  if (!frame || frame->header.type != FrameType::kError) return std::nullopt;
  const Result<DecodedError> error = decode_error(frame->body);
  if (!error) return std::nullopt;
  return error->code;
}

std::optional<HelloReply> RawRequester::hello(Role role, std::uint64_t features) {
  const Hello hello{kMagic, 1, 1, features, role, 0, make_name("test")};
  send(encode(next_tag_++, hello));
  const std::optional<RawFrame> frame = receive();
  if (!frame || frame->header.type != FrameType::kHelloReply) return std::nullopt;
  const Result<HelloReply> reply = decode_hello_reply(frame->body);
  if (!reply) return std::nullopt;
  return *reply;
}

std::optional<RawFrame> RawRequester::ask_lease(std::uint64_t wanted_bytes, std::uint32_t flags) {
  send(encode(next_tag_++, LeaseRequest{wanted_bytes, flags, 0}));
  return receive();
}

std::optional<RawLease> RawRequester::take_lease(std::uint64_t wanted_bytes, bool descriptors) {
  std::optional<RawFrame> frame = ask_lease(wanted_bytes, descriptors ? kLeaseWantDescriptors : 0);
  if (!frame || frame->header.type != FrameType::kLeaseGrant) return std::nullopt;
  RawLease lease;
  lease.grant = *decode_lease_grant(frame->body);
  while (descriptors && lease.descriptors.size() < lease.grant.region_count) {
    frame = receive();
    if (!frame || frame->header.type != FrameType::kRegionFds) return std::nullopt;
    for (UniqueFd& fd : frame->descriptors) lease.descriptors.push_back(std::move(fd));
  }
  return lease;
}

bool RawRequester::attach(const LeaseId& id, const LeaseToken& token, std::uint64_t lane) {
  send(encode(next_tag_++, Attach{id, token, lane}));
  const std::optional<RawFrame> frame = receive();
  return frame && frame->header.type == FrameType::kAttached;
}

bool RawRequester::write(std::uint32_t region, std::uint64_t offset,
                         std::span<const std::byte> bytes) {
  const std::uint64_t tag = next_tag_++;
  const DataRequest request =
      make_write(tag, region, offset, static_cast<std::uint32_t>(bytes.size()));
  send(bytes_of(request));
  send(bytes);
  const std::optional<RawFrame> frame = receive();
  return frame && frame->header.type == FrameType::kWriteReply && frame->header.tag == tag &&
         frame->body.empty();
}

std::optional<std::vector<std::byte>> RawRequester::read(std::uint32_t region, std::uint64_t offset,
                                                         std::uint32_t length) {
  const std::uint64_t tag = next_tag_++;
  const DataRequest request = make_read(tag, region, offset, length);
  send(bytes_of(request));
  std::optional<RawFrame> frame = receive();
  if (!frame || frame->header.type != FrameType::kReadReply || frame->header.tag != tag) {
    return std::nullopt;
  }
  return std::move(frame->body);
}

}  // namespace rram::test
