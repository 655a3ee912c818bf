// A requester that does only what a test says, right or wrong, with blocking calls on one socket.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "rdma/endpoint.h"
#include "rdma/wire/codec.h"
#include "rdma/wire/frames.h"

namespace rram::test {

struct RawFrame {
  FrameHeader header{};
  std::vector<std::byte> body;
  std::vector<UniqueFd> descriptors;
};

struct RawLease {
  LeaseGrant grant{};
  std::vector<UniqueFd> descriptors;
};

class RawRequester {
 public:
  explicit RawRequester(const Endpoint& provider);
  // Of a connection that is there already; also the other side of one.
  explicit RawRequester(UniqueFd connected);

  void send(std::span<const std::byte> bytes);
  // To a Unix socket: the same descriptor that many times with the first byte.
  void send_with_descriptors(std::span<const std::byte> bytes, int descriptor, std::size_t count);
  // The next frame; nullopt if the connection ended or nothing came within 5 s.
  std::optional<RawFrame> receive();
  // True if the provider closes within 5 s; frames before that are dropped.
  bool is_closed_by_peer();
  // Everything up to the end of the connection, or until nothing came for 5 s.
  std::vector<std::byte> receive_rest();
  // The code of the next frame, which must be an ERROR.
  std::optional<WireError> receive_error();
  void close() { fd_.reset(); }
  // Sends no more, still reads.
  void close_sending();
  [[nodiscard]] int fd() const { return fd_.get(); }

  std::optional<HelloReply> hello(Role role, std::uint64_t features = 0);
  // After hello(kControl).
  std::optional<RawLease> take_lease(std::uint64_t wanted_bytes, bool descriptors = false);
  std::optional<RawFrame> ask_lease(std::uint64_t wanted_bytes, std::uint32_t flags = 0);
  // `lane`: of a data connection.
  bool attach(const LeaseId& id, const LeaseToken& token, std::uint64_t lane = 0);
  bool write(std::uint32_t region, std::uint64_t offset, std::span<const std::byte> bytes);
  std::optional<std::vector<std::byte>> read(std::uint32_t region, std::uint64_t offset,
                                             std::uint32_t length);

 private:
  bool receive_exactly(std::span<std::byte> bytes, std::vector<UniqueFd>& descriptors);

  UniqueFd fd_;
  bool is_at_end_ = false;  // the peer has closed
  std::uint64_t next_tag_ = 1;
};

}  // namespace rram::test
