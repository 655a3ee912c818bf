// What the session tests share: valid frames of every type, and ways to look into actions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "rdma/session/actions.h"
#include "rdma/session/lease_terms.h"
#include "rdma/session/preshared_key.h"
#include "rdma/wire/codec.h"
#include "rdma/wire/frame_reader.h"
#include "rdma/wire/frames.h"
#include "rdma/wire/text.h"

namespace rram::test {

inline constexpr std::uint64_t kSegmentBytes = 2ULL << 20;
inline constexpr Incarnation kIncarnation = {1, 2, 3};
inline constexpr LeaseId kLeaseId = {7};
inline constexpr LeaseToken kToken = {9, 9};

inline constexpr FrameType kAllTypes[] = {
    FrameType::kHello,        FrameType::kHelloReply, FrameType::kAuth,
    FrameType::kLeaseRequest, FrameType::kLeaseGrant, FrameType::kLeaseWait,
    FrameType::kRegions,      FrameType::kRegionFds,  FrameType::kAttach,
    FrameType::kAttached,     FrameType::kHeartbeat,  FrameType::kHeartbeatReply,
    FrameType::kRelease,      FrameType::kReleased,   FrameType::kStatsRequest,
    FrameType::kStatsReply,   FrameType::kError,      FrameType::kPending,
    FrameType::kRead,         FrameType::kReadReply,  FrameType::kWrite,
    FrameType::kWriteReply};

inline LeaseTerms make_terms(std::uint32_t region_count = 3) {
  return {kLeaseId, kToken, kSegmentBytes, region_count, 1000, 30'000};
}

inline std::vector<RegionEntry> make_regions(std::uint32_t region_count = 3) {
  return std::vector<RegionEntry>(region_count, RegionEntry{0, kSegmentBytes, 0});
}

inline Hello make_hello(Role role = Role::kControl) {
  return {kMagic, kWireVersionMin, kWireVersionMax, 0, role, 0, make_name("host-a:/mnt/r")};
}

inline HelloReply make_hello_reply() {
  return {kMagic,
          1,
          0,
          0,
          kIncarnation,
          64 * kSegmentBytes,
          60 * kSegmentBytes,
          kSegmentBytes,
          make_name("host-b")};
}

inline LeaseGrant make_grant(const LeaseTerms& terms = make_terms()) {
  return {terms.lease_id,     terms.token,
          terms.size_bytes(), terms.region_bytes,
          terms.region_count, terms.heartbeat_interval_ms,
          terms.grace_ms,     0};
}

inline Attached make_attached(const LeaseTerms& terms = make_terms()) {
  return {terms.size_bytes(),          terms.region_bytes, terms.region_count,
          terms.heartbeat_interval_ms, terms.grace_ms,     0};
}

// Splits the bytes of one whole frame.
inline FrameReader::Frame to_frame(const FrameBytes& bytes) {
  FrameReader::Frame frame;
  frame.header = decode_frame_header(std::span(bytes).first(sizeof(FrameHeader))).value();
  frame.body.assign(bytes.begin() + sizeof(FrameHeader), bytes.end());
  return frame;
}

// A frame of `type` that its decoder accepts (READ and WRITE excepted: a body of zeros). ATTACH is
// a control connection's.
inline FrameReader::Frame valid_frame(FrameType type, std::uint64_t tag = 1) {
  switch (type) {
    case FrameType::kHello:
      return to_frame(encode(tag, make_hello()));
    case FrameType::kHelloReply:
      return to_frame(encode(tag, make_hello_reply()));
    case FrameType::kAuth:
      return to_frame(encode_frame(type, 0, std::vector<std::byte>(8)));
    case FrameType::kLeaseRequest:
      return to_frame(encode(tag, LeaseRequest{0, 0, 0}));
    case FrameType::kLeaseGrant:
      return to_frame(encode(tag, make_grant()));
    case FrameType::kLeaseWait:
      return to_frame(encode(tag, LeaseWait{kSegmentBytes, 500, 0}));
    case FrameType::kRegions:
      return to_frame(encode_regions(tag, 0, make_regions()));
    case FrameType::kRegionFds:
      return to_frame(encode(tag, RegionFds{0, 3}));
    case FrameType::kAttach:
      return to_frame(encode(tag, Attach{kLeaseId, kToken, 0}));
    case FrameType::kAttached:
      return to_frame(encode(tag, make_attached()));
    case FrameType::kStatsReply:
      return to_frame(encode(tag, StatsReply{}));
    case FrameType::kError:
      return to_frame(encode_error(WireError::kShuttingDown, "bye"));
    case FrameType::kRead:
    case FrameType::kReadReply:
      return to_frame(encode_frame(type, tag, std::vector<std::byte>(16)));
    case FrameType::kWrite:
      return to_frame(encode_frame(type, tag, std::vector<std::byte>(20)));
    default:
      return to_frame(encode_empty(type, tag));
  }
}

template <typename T, typename Actions>
const T* find_action(const Actions& actions) {
  for (const auto& action : actions) {
    if (const T* found = std::get_if<T>(&action)) {
      return found;
    }
  }
  return nullptr;
}

// The frames that the actions send, in order.
template <typename Actions>
std::vector<FrameReader::Frame> sent_frames(const Actions& actions) {
  std::vector<FrameReader::Frame> frames;
  for (const auto& action : actions) {
    std::visit(
        [&](const auto& value) {
          if constexpr (requires { value.bytes; }) {
            frames.push_back(to_frame(value.bytes));
          }
        },
        action);
  }
  return frames;
}

// "HELLO_REPLY HEARTBEAT_REPLY": what is sent, for comparisons.
template <typename Actions>
std::string sent_names(const Actions& actions) {
  std::string names;
  for (const auto& frame : sent_frames(actions)) {
    names += (names.empty() ? "" : " ") + frame_type_name(frame.header.type);
  }
  return names;
}

// The ERROR that the actions send, if they do.
template <typename Actions>
std::optional<DecodedError> sent_error(const Actions& actions) {
  for (const auto& frame : sent_frames(actions)) {
    if (frame.header.type == FrameType::kError) {
      return decode_error(frame.body).value();
    }
  }
  return std::nullopt;
}

inline PresharedKey test_key(std::uint8_t fill) {
  std::array<std::byte, kKeyBytes> bytes;
  bytes.fill(std::byte{fill});
  return PresharedKey(bytes);
}

}  // namespace rram::test
