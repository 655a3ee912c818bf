// Frames to bytes and back. Everything that comes from a peer passes a decode_*() or check_*() of
// this file before it is used; each returns kProtocol with a sentence that names the field and its
// value. Pure: no I/O, no state. See docs/protocol.md.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "rdma/wire/frames.h"

namespace rram {

// "LEASE_GRANT", or "type 77" for a number that is no frame.
std::string frame_type_name(FrameType type);
// The name in docs/protocol.md: "NO_LEASE", or "code 99".
std::string wire_error_name(WireError code);
// The code that this side's programs act on when a peer sent `code`.
ErrorCode error_code_of(WireError code);
// 32 hexadecimal digits. Not for tokens.
std::string id_text(const Bytes16& id);

// ---- headers ----

// The frame types that a receiver accepts at this moment.
class FrameSet {
 public:
  constexpr FrameSet() = default;
  template <std::same_as<FrameType>... Types>
  constexpr explicit FrameSet(Types... types) : bits_((0ULL | ... | bit(types))) {}
  // False for a number that is no frame type.
  [[nodiscard]] constexpr bool contains(FrameType type) const {
    return static_cast<std::uint32_t>(type) < kFrameTypeLimit && (bits_ & bit(type)) != 0;
  }

 private:
  static constexpr std::uint64_t bit(FrameType type) {
    return 1ULL << static_cast<std::uint32_t>(type);
  }
  std::uint64_t bits_ = 0;
};

// Decodes a header from its 16 bytes: a known type, no flags, and a body of a size that this type
// can have (so also the bound for the buffer that will receive it).
Result<FrameHeader> decode_frame_header(std::span<const std::byte> bytes);

// Checks that the receiver accepts this frame now. `state` is for the reason: "READ in state
// HELLO".
Status check_frame_allowed(const FrameHeader& header, FrameSet allowed, std::string_view state);

// ---- control: struct to frame ----

// A whole frame: header and body.
using FrameBytes = std::vector<std::byte>;

template <WireStruct T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span<const T, 1>(&value, 1));
}

// A frame of `type` with these bytes as its body.
FrameBytes encode_frame(FrameType type, std::uint64_t tag, std::span<const std::byte> body);

// A frame whose body is one fixed struct (Hello, LeaseGrant, ...).
template <WireStruct T>
FrameBytes encode(std::uint64_t tag, const T& body) {
  return encode_frame(T::kType, tag, bytes_of(body));
}

// A frame without a body (HEARTBEAT, RELEASED, ...).
FrameBytes encode_empty(FrameType type, std::uint64_t tag);

// `regions`: 1 to kMaxRegionsPerFrame.
FrameBytes encode_regions(std::uint64_t tag, std::uint32_t first_index,
                          std::span<const RegionEntry> regions);

// The text is made printable and cut to kMaxErrorTextBytes.
FrameBytes encode_error(WireError code, std::string_view text);

// ---- control: body to struct ----

struct DecodedRegions {
  std::uint32_t first_index;
  std::vector<RegionEntry> regions;
};

struct DecodedError {
  WireError code;  // a known one; an unknown number became kInternal
  std::string text;
};

Result<Hello> decode_hello(std::span<const std::byte> body);
Result<HelloReply> decode_hello_reply(std::span<const std::byte> body);
Result<LeaseRequest> decode_lease_request(std::span<const std::byte> body);
Result<LeaseGrant> decode_lease_grant(std::span<const std::byte> body);
Result<LeaseWait> decode_lease_wait(std::span<const std::byte> body);
Result<DecodedRegions> decode_regions(std::span<const std::byte> body);
Result<RegionFds> decode_region_fds(std::span<const std::byte> body);
Result<Attach> decode_attach(std::span<const std::byte> body);
Result<Attached> decode_attached(std::span<const std::byte> body);
Result<StatsReply> decode_stats_reply(std::span<const std::byte> body);
Result<DecodedError> decode_error(std::span<const std::byte> body);

// The highest version that the requester and this provider both speak. kRefused with a sentence
// that names both ranges. `hello` was decoded before.
Result<std::uint16_t> choose_version(const Hello& hello);

// ---- data ----

// The regions that a lane may touch.
struct RegionLimits {
  std::uint32_t region_count;
  std::uint64_t region_bytes;
};

// A request as it goes on the wire; send bytes_of() it, for WRITE followed by the payload.
DataRequest make_read(std::uint64_t tag, std::uint32_t region, std::uint64_t offset,
                      std::uint32_t length);
DataRequest make_write(std::uint64_t tag, std::uint32_t region, std::uint64_t offset,
                       std::uint32_t length);
// READ_REPLY is followed by `length` bytes.
FrameHeader make_read_reply(std::uint64_t tag, std::uint32_t length);
FrameHeader make_write_reply(std::uint64_t tag);

// Decodes READ or WRITE from its 32 bytes: type, length 1 to kMaxDataBytes, body_bytes as it must
// be. Not yet the range: see check_data_range().
Result<DataRequest> decode_data_request(std::span<const std::byte> bytes);
// Errors: kInvalidArgument (the answer is WireError::kOutOfRange).
Status check_data_range(const DataRequest& request, const RegionLimits& limits);

// Checks that `reply` is the one for `request`: type, tag, length. ERROR is not a reply: look
// first.
Status check_data_reply(const FrameHeader& reply, const DataRequest& request);

}  // namespace rram
