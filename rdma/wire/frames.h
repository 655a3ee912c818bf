// The frames of docs/protocol.md as they lie on the wire: little endian, no padding, one struct for
// each body of fixed size. Structs are copied to and from bytes by rdma/wire/codec.h, never
// overlaid on a buffer. Change the document first, then this file.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace rram {

static_assert(std::endian::native == std::endian::little,
              "the wire is little endian and structs are copied to it as they are");

// ---- limits ----

inline constexpr std::uint16_t kWireVersionMin = 1;
inline constexpr std::uint16_t kWireVersionMax = 1;

inline constexpr std::uint32_t kMaxDataBytes = 4U << 20;
inline constexpr std::uint32_t kMaxControlBodyBytes = 64U << 10;
inline constexpr std::uint32_t kMaxAuthBytes = 16U << 10;
inline constexpr std::uint32_t kMaxAuthFrames = 8;
inline constexpr std::uint32_t kMaxErrorTextBytes = 512;
inline constexpr std::uint32_t kMaxRegionsPerLease = 65536;
inline constexpr std::uint32_t kMaxRegionsPerFrame = 2048;
inline constexpr std::uint32_t kMaxDescriptorsPerFrame = 64;
inline constexpr std::uint64_t kMinRegionBytes = 4ULL << 10;
inline constexpr std::uint64_t kMaxRegionBytes = 1ULL << 40;
inline constexpr std::uint64_t kMaxPoolBytes = 1ULL << 50;
inline constexpr std::uint32_t kMinHeartbeatIntervalMs = 10;
inline constexpr std::uint32_t kMaxHeartbeatIntervalMs = 60'000;
inline constexpr std::uint32_t kMaxGraceMs = 86'400'000;
inline constexpr std::uint32_t kMaxRetryMs = 60'000;
// How often PENDING comes while an answer takes time; who waits grants at least some of these.
inline constexpr std::uint32_t kPendingIntervalMs = 100;
inline constexpr std::uint32_t kPendingIntervalsGranted = 5;
// Intervals of silence after which the peer counts as gone.
inline constexpr std::uint32_t kMissedHeartbeats = 5;

inline constexpr std::uint32_t kMagic = 0x4D415252;  // the bytes "RRAM"

// ---- vocabulary ----

enum class FrameType : std::uint16_t {
  kHello = 1,
  kHelloReply = 2,
  kAuth = 3,
  kLeaseRequest = 4,
  kLeaseGrant = 5,
  kLeaseWait = 6,
  kRegions = 7,
  kRegionFds = 8,
  kAttach = 9,
  kAttached = 10,
  kHeartbeat = 11,
  kHeartbeatReply = 12,
  kRelease = 13,
  kReleased = 14,
  kStatsRequest = 15,
  kStatsReply = 16,
  kError = 17,
  kPending = 18,
  kRead = 32,
  kReadReply = 33,
  kWrite = 34,
  kWriteReply = 35,
};
// Type numbers stay below this, so that a set of types fits one word.
inline constexpr std::uint32_t kFrameTypeLimit = 64;

enum class Role : std::uint32_t { kControl = 1, kData = 2 };

// Feature bits of HELLO and HELLO_REPLY.
inline constexpr std::uint64_t kFeatureDescriptors = 1ULL << 0;
inline constexpr std::uint64_t kFeatureTls = 1ULL << 1;
// Flag bits of LEASE_REQUEST and LEASE_GRANT.
inline constexpr std::uint32_t kLeaseWantDescriptors = 1U << 0;
inline constexpr std::uint32_t kGrantDescriptors = 1U << 0;
// Flag bits of ATTACHED.
inline constexpr std::uint32_t kAttachedRegions = 1U << 0;

enum class WireError : std::uint32_t {
  kProtocol = 1,
  kVersion = 2,
  kRefused = 3,
  kAuthentication = 4,
  kNoLease = 5,
  kNoSpace = 6,
  kLimit = 7,
  kTimedOut = 8,
  kReplaced = 9,
  kShuttingDown = 10,
  kLeaseOver = 11,
  kOutOfRange = 12,
  kInternal = 13,
};

using Bytes16 = std::array<std::uint8_t, 16>;
using Incarnation = Bytes16;
using LeaseId = Bytes16;
// Secret: never in a log or a message.
using LeaseToken = Bytes16;
// UTF-8, NUL-terminated, NUL up to the end; see rdma/wire/text.h.
using WireName = std::array<char, 64>;

// ---- layouts ----

struct FrameHeader {
  std::uint32_t body_bytes;
  FrameType type;
  std::uint16_t flags;
  std::uint64_t tag;
};

struct Hello {
  static constexpr FrameType kType = FrameType::kHello;
  std::uint32_t magic;
  std::uint16_t version_min;
  std::uint16_t version_max;
  std::uint64_t features;
  Role role;
  std::uint32_t reserved;
  WireName name;
};

struct HelloReply {
  static constexpr FrameType kType = FrameType::kHelloReply;
  std::uint32_t magic;
  std::uint16_t version;
  std::uint16_t auth_required;
  std::uint64_t features;
  Incarnation incarnation;
  std::uint64_t pool_bytes;
  std::uint64_t free_bytes;
  std::uint64_t segment_bytes;
  WireName name;
};

struct LeaseRequest {
  static constexpr FrameType kType = FrameType::kLeaseRequest;
  std::uint64_t wanted_bytes;  // 0: all that is free
  std::uint32_t flags;
  std::uint32_t reserved;
};

struct LeaseGrant {
  static constexpr FrameType kType = FrameType::kLeaseGrant;
  LeaseId lease_id;
  LeaseToken token;
  std::uint64_t bytes;
  std::uint64_t region_bytes;
  std::uint32_t region_count;
  std::uint32_t heartbeat_interval_ms;
  std::uint32_t grace_ms;
  std::uint32_t flags;
};

struct LeaseWait {
  static constexpr FrameType kType = FrameType::kLeaseWait;
  std::uint64_t reclaiming_bytes;
  std::uint32_t retry_ms;
  std::uint32_t reserved;
};

// The fixed head of REGIONS; `count` RegionEntry follow.
struct RegionsHead {
  static constexpr FrameType kType = FrameType::kRegions;
  std::uint32_t first_index;
  std::uint32_t count;
};

struct RegionEntry {
  std::uint64_t base;
  std::uint64_t length;
  std::uint64_t key;
};

struct RegionFds {
  static constexpr FrameType kType = FrameType::kRegionFds;
  std::uint32_t first_index;
  std::uint32_t count;
};

struct Attach {
  static constexpr FrameType kType = FrameType::kAttach;
  LeaseId lease_id;
  LeaseToken token;
  std::uint64_t lane;  // data: which of the lease's lanes this is, not 0; control: 0
};

struct Attached {
  static constexpr FrameType kType = FrameType::kAttached;
  std::uint64_t bytes;
  std::uint64_t region_bytes;
  std::uint32_t region_count;
  std::uint32_t heartbeat_interval_ms;
  std::uint32_t grace_ms;
  std::uint32_t flags;
};

struct StatsReply {
  static constexpr FrameType kType = FrameType::kStatsReply;
  std::uint64_t pool_bytes;
  std::uint64_t leased_bytes;
  std::uint64_t free_bytes;
  std::uint64_t reclaiming_bytes;
  std::uint64_t leases;
  std::uint64_t connections;
  std::uint64_t reads;
  std::uint64_t writes;
  std::uint64_t read_bytes;
  std::uint64_t written_bytes;
  std::uint64_t rejected_connections;
  std::uint64_t protocol_errors;
  std::uint64_t uptime_ms;
};

// The fixed head of ERROR; `text_bytes` bytes of text follow.
struct ErrorHead {
  static constexpr FrameType kType = FrameType::kError;
  WireError code;
  std::uint32_t text_bytes;
};

// READ and WRITE, header included; a WRITE's payload of `length` bytes follows.
struct DataRequest {
  FrameHeader header;
  std::uint64_t offset;
  std::uint32_t length;
  std::uint32_t region;
};

inline constexpr std::uint32_t kDataRequestBodyBytes = sizeof(DataRequest) - sizeof(FrameHeader);

// ---- asserts ----

// A type that may be copied to the wire: every byte of it has a name.
template <typename T>
concept WireStruct = std::is_trivially_copyable_v<T> && std::is_standard_layout_v<T> &&
                     std::has_unique_object_representations_v<T>;

static_assert(WireStruct<FrameHeader> && sizeof(FrameHeader) == 16);
static_assert(offsetof(FrameHeader, body_bytes) == 0 && offsetof(FrameHeader, type) == 4);
static_assert(offsetof(FrameHeader, flags) == 6 && offsetof(FrameHeader, tag) == 8);

static_assert(WireStruct<Hello> && sizeof(Hello) == 88);
static_assert(offsetof(Hello, version_min) == 4 && offsetof(Hello, version_max) == 6);
static_assert(offsetof(Hello, features) == 8 && offsetof(Hello, role) == 16);
static_assert(offsetof(Hello, reserved) == 20 && offsetof(Hello, name) == 24);

static_assert(WireStruct<HelloReply> && sizeof(HelloReply) == 120);
static_assert(offsetof(HelloReply, version) == 4 && offsetof(HelloReply, auth_required) == 6);
static_assert(offsetof(HelloReply, features) == 8 && offsetof(HelloReply, incarnation) == 16);
static_assert(offsetof(HelloReply, pool_bytes) == 32 && offsetof(HelloReply, free_bytes) == 40);
static_assert(offsetof(HelloReply, segment_bytes) == 48 && offsetof(HelloReply, name) == 56);

static_assert(WireStruct<LeaseRequest> && sizeof(LeaseRequest) == 16);
static_assert(offsetof(LeaseRequest, flags) == 8 && offsetof(LeaseRequest, reserved) == 12);

static_assert(WireStruct<LeaseGrant> && sizeof(LeaseGrant) == 64);
static_assert(offsetof(LeaseGrant, token) == 16 && offsetof(LeaseGrant, bytes) == 32);
static_assert(offsetof(LeaseGrant, region_bytes) == 40 && offsetof(LeaseGrant, region_count) == 48);
static_assert(offsetof(LeaseGrant, heartbeat_interval_ms) == 52);
static_assert(offsetof(LeaseGrant, grace_ms) == 56 && offsetof(LeaseGrant, flags) == 60);

static_assert(WireStruct<LeaseWait> && sizeof(LeaseWait) == 16);
static_assert(offsetof(LeaseWait, retry_ms) == 8 && offsetof(LeaseWait, reserved) == 12);

static_assert(WireStruct<RegionsHead> && sizeof(RegionsHead) == 8);
static_assert(offsetof(RegionsHead, count) == 4);
static_assert(WireStruct<RegionEntry> && sizeof(RegionEntry) == 24);
static_assert(offsetof(RegionEntry, length) == 8 && offsetof(RegionEntry, key) == 16);

static_assert(WireStruct<RegionFds> && sizeof(RegionFds) == 8 && offsetof(RegionFds, count) == 4);

static_assert(WireStruct<Attach> && sizeof(Attach) == 40);
static_assert(offsetof(Attach, token) == 16 && offsetof(Attach, lane) == 32);

static_assert(WireStruct<Attached> && sizeof(Attached) == 32);
static_assert(offsetof(Attached, region_bytes) == 8 && offsetof(Attached, region_count) == 16);
static_assert(offsetof(Attached, heartbeat_interval_ms) == 20);
static_assert(offsetof(Attached, grace_ms) == 24 && offsetof(Attached, flags) == 28);

static_assert(WireStruct<StatsReply> && sizeof(StatsReply) == 104);
static_assert(offsetof(StatsReply, leases) == 32 && offsetof(StatsReply, uptime_ms) == 96);

static_assert(WireStruct<ErrorHead> && sizeof(ErrorHead) == 8);
static_assert(offsetof(ErrorHead, text_bytes) == 4);

static_assert(WireStruct<DataRequest> && sizeof(DataRequest) == 32);
static_assert(offsetof(DataRequest, offset) == 16 && offsetof(DataRequest, length) == 24);
static_assert(offsetof(DataRequest, region) == 28 && kDataRequestBodyBytes == 16);

// How the limits relate.
static_assert(sizeof(RegionsHead) + kMaxRegionsPerFrame * sizeof(RegionEntry) <=
              kMaxControlBodyBytes);
static_assert(sizeof(ErrorHead) + kMaxErrorTextBytes <= kMaxControlBodyBytes);
static_assert(kMaxAuthBytes <= kMaxControlBodyBytes);
static_assert(kMaxDataBytes <= UINT32_MAX - kDataRequestBodyBytes);
static_assert(kMaxDescriptorsPerFrame <= 253, "SCM_MAX_FD of Linux");
static_assert(kMaxRegionBytes <= UINT64_MAX / kMaxRegionsPerLease, "their product cannot wrap");
static_assert(static_cast<std::uint32_t>(FrameType::kWriteReply) < kFrameTypeLimit);

}  // namespace rram
