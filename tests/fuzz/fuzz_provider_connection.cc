// A real provider and requesters that do anything: several connections at once over socket pairs,
// through HELLO, lease, attach and data, with frames that are right, almost right and no frames at
// all. After each input every connection has ended, every lease is over and all memory is zero.
#include <sys/mman.h>
#include <sys/socket.h>

#include <array>
#include <optional>
#include <vector>

#include "rdma/control/descriptor_passing.h"
#include "rdma/wire/codec.h"
#include "rdma/wire/frame_reader.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/whole_provider.h"
#include "tests/unit/wire/session_helpers.h"

namespace rram::fuzz {
namespace {

constexpr std::size_t kRequesters = 4;
constexpr int kMaxSteps = 100;
constexpr std::size_t kMaxPayloadBytes = 512U << 10;

// What one requester has been told last.
struct Known {
  LeaseId lease_id{};
  LeaseToken token{};
};

class Requesters {
 public:
  Requesters(WholeProvider& provider, Input input) : provider_(provider), input_(input) {}

  Task<> play() {
    for (int steps = 0; !input_.empty() && steps < kMaxSteps; ++steps) {
      step();
      co_await settle(provider_.loop());
    }
    for (UniqueFd& socket : sockets_) socket.reset();
    co_await provider_.until_empty();
  }

 private:
  void step() {
    const std::uint8_t operation = input_.byte();
    UniqueFd& socket = sockets_.at(operation / 16 % kRequesters);
    if (!socket) socket = provider_.connect((operation & 128) != 0);
    switch (operation % 16) {
      case 0:
        return send(socket, encode(1, test::make_hello(Role::kControl)));
      case 1:
        return send(socket, encode(1, test::make_hello(Role::kData)));
      case 2: {
        Hello hello = test::make_hello(Role::kControl);
        hello.features = kFeatureDescriptors;
        return send(socket, encode(1, hello));
      }
      case 3:
        return send(socket, lease_request());
      case 4:
        return send(socket, encode(2, Attach{known_.lease_id, known_.token, input_.byte()}));
      case 5:
      case 6:
        return send_data_request(socket);
      case 7:
        return send(socket, any_frame());
      case 8: {
        FrameBytes frame = any_frame();
        frame.at(input_.number<std::uint16_t>() % frame.size()) ^= std::byte{input_.byte()};
        return send(socket, frame);
      }
      case 9:
        return send(socket, input_.bytes(input_.byte()));
      case 10:
        return send(socket, encode_empty(FrameType::kRelease, 3));
      case 11:
        return send_with_descriptors(socket);
      case 12:
        return read_replies(socket);
      case 13:
        ::shutdown(socket.get(), SHUT_WR);
        return;
      case 14:
        return provider_.tick();
      default:
        return socket.reset();
    }
  }

  FrameBytes lease_request() {
    const std::uint8_t choice = input_.byte();
    LeaseRequest request{};
    request.wanted_bytes = std::uint64_t{choice} << 18U;  // 0: all; else up to eight pools
    request.flags = choice % 2 == 1 ? kLeaseWantDescriptors : 0;
    return encode(2, request);
  }

  FrameBytes any_frame() {
    const auto type = test::kAllTypes[input_.byte() % std::size(test::kAllTypes)];
    const FrameReader::Frame frame = test::valid_frame(type, input_.byte());
    return encode_frame(frame.header.type, frame.header.tag, frame.body);
  }

  // Mostly within the lease, and mostly with all of its payload.
  void send_data_request(const UniqueFd& socket) {
    const std::uint8_t choice = input_.byte();
    const std::uint32_t region = choice % 5;
    const std::uint64_t offset = input_.number<std::uint16_t>() * std::uint64_t{32};
    const std::uint32_t length = std::uint32_t{input_.byte()} << choice / 16;
    const bool is_write = choice % 2 == 1;
    // Made with a length that is right; then with what the input says.
    DataRequest request = is_write ? make_write(next_tag_++, region, offset, 1)
                                   : make_read(next_tag_++, region, offset, 1);
    request.length = length;
    if (is_write) request.header.body_bytes += length - 1;
    send(socket, bytes_of(request));
    if (!is_write) return;
    const std::vector<std::byte> payload(std::min<std::size_t>(length, kMaxPayloadBytes),
                                         std::byte{choice});
    send(socket, std::span(payload).first(payload.size() - (choice == 255 ? 1 : 0)));
  }

  // What the provider does not take at once is lost: a requester that gave up in the middle.
  static void send(const UniqueFd& socket, std::span<const std::byte> bytes) {
    ::send(socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  }

  void send_with_descriptors(const UniqueFd& socket) {
    const std::size_t count = 1 + input_.byte() % kMaxDescriptorsPerFrame;
    FrameBytes frame = any_frame();
    DescriptorSpace control;
    iovec part{frame.data(), frame.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes.data();
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    const std::vector<int> descriptors(count, socket.get());
    std::memcpy(CMSG_DATA(header), descriptors.data(), count * sizeof(int));
    ::sendmsg(socket.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  }

  // The last grant in what has come is what ATTACH will name.
  void read_replies(const UniqueFd& socket) {
    std::array<std::byte, 4096> buffer;
    const ssize_t received = ::recv(socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (received <= 0) return;
    std::span<const std::byte> rest(buffer.data(), static_cast<std::size_t>(received));
    while (rest.size() >= sizeof(FrameHeader)) {
      const Result<FrameHeader> header = decode_frame_header(rest.first(sizeof(FrameHeader)));
      rest = rest.subspan(sizeof(FrameHeader));
      if (!header || header->body_bytes > rest.size()) return;  // data, or the middle of some
      if (header->type == FrameType::kLeaseGrant) learn(rest.first(header->body_bytes));
      rest = rest.subspan(header->body_bytes);
    }
  }

  void learn(std::span<const std::byte> body) {
    const Result<LeaseGrant> grant = decode_lease_grant(body);
    require(grant.has_value());
    known_ = {grant->lease_id, grant->token};
  }

  WholeProvider& provider_;
  Input input_;
  std::array<UniqueFd, kRequesters> sockets_;
  Known known_;
  std::uint64_t next_tag_ = 1;
};

}  // namespace
}  // namespace rram::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static rram::fuzz::WholeProvider provider;
  rram::fuzz::Requesters requesters(provider, rram::fuzz::Input(data, size));
  provider.run(requesters.play());
  return 0;
}
