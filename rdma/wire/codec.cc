#include "rdma/wire/codec.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cassert>

#include "base/range_check.h"
#include "rdma/wire/text.h"

namespace rram {

namespace {

struct FrameRow {
  FrameType type;
  std::string_view name;
  std::uint32_t min_body_bytes;
  std::uint32_t max_body_bytes;
};

template <WireStruct T>
constexpr FrameRow fixed_row(std::string_view name) {
  return {T::kType, name, sizeof(T), sizeof(T)};
}

constexpr FrameRow empty_row(FrameType type, std::string_view name) { return {type, name, 0, 0}; }

// One row for each frame; the bodies that it can have.
constexpr FrameRow kFrames[] = {
    fixed_row<Hello>("HELLO"),
    fixed_row<HelloReply>("HELLO_REPLY"),
    {FrameType::kAuth, "AUTH", 1, kMaxAuthBytes},
    fixed_row<LeaseRequest>("LEASE_REQUEST"),
    fixed_row<LeaseGrant>("LEASE_GRANT"),
    fixed_row<LeaseWait>("LEASE_WAIT"),
    {FrameType::kRegions, "REGIONS", sizeof(RegionsHead) + sizeof(RegionEntry),
     sizeof(RegionsHead) + kMaxRegionsPerFrame * sizeof(RegionEntry)},
    fixed_row<RegionFds>("REGION_FDS"),
    fixed_row<Attach>("ATTACH"),
    fixed_row<Attached>("ATTACHED"),
    empty_row(FrameType::kHeartbeat, "HEARTBEAT"),
    empty_row(FrameType::kHeartbeatReply, "HEARTBEAT_REPLY"),
    empty_row(FrameType::kRelease, "RELEASE"),
    empty_row(FrameType::kReleased, "RELEASED"),
    empty_row(FrameType::kStatsRequest, "STATS_REQUEST"),
    fixed_row<StatsReply>("STATS_REPLY"),
    empty_row(FrameType::kPending, "PENDING"),
    {FrameType::kError, "ERROR", sizeof(ErrorHead), sizeof(ErrorHead) + kMaxErrorTextBytes},
    {FrameType::kRead, "READ", kDataRequestBodyBytes, kDataRequestBodyBytes},
    {FrameType::kReadReply, "READ_REPLY", 1, kMaxDataBytes},
    {FrameType::kWrite, "WRITE", kDataRequestBodyBytes + 1, kDataRequestBodyBytes + kMaxDataBytes},
    empty_row(FrameType::kWriteReply, "WRITE_REPLY"),
};

const FrameRow* find_frame(FrameType type) {
  const auto* row = std::ranges::find(kFrames, type, &FrameRow::type);
  return row == std::end(kFrames) ? nullptr : row;
}

struct WireErrorRow {
  WireError code;
  std::string_view name;
  ErrorCode means;
};

constexpr WireErrorRow kWireErrors[] = {
    {WireError::kProtocol, "PROTOCOL", ErrorCode::kProtocol},
    {WireError::kVersion, "VERSION", ErrorCode::kRefused},
    {WireError::kRefused, "REFUSED", ErrorCode::kRefused},
    {WireError::kAuthentication, "AUTHENTICATION", ErrorCode::kRefused},
    {WireError::kNoLease, "NO_LEASE", ErrorCode::kLost},
    {WireError::kNoSpace, "NO_SPACE", ErrorCode::kNoSpace},
    {WireError::kLimit, "LIMIT", ErrorCode::kRefused},
    {WireError::kTimedOut, "TIMED_OUT", ErrorCode::kTimedOut},
    {WireError::kReplaced, "REPLACED", ErrorCode::kDisconnected},
    {WireError::kShuttingDown, "SHUTTING_DOWN", ErrorCode::kDisconnected},
    {WireError::kLeaseOver, "LEASE_OVER", ErrorCode::kLost},
    {WireError::kOutOfRange, "OUT_OF_RANGE", ErrorCode::kProtocol},
    {WireError::kInternal, "INTERNAL", ErrorCode::kIo},
};

const WireErrorRow* find_wire_error(WireError code) {
  const auto* row = std::ranges::find(kWireErrors, code, &WireErrorRow::code);
  return row == std::end(kWireErrors) ? nullptr : row;
}

template <typename... Args>
std::unexpected<Error> bad(fmt::format_string<Args...> format, Args&&... args) {
  return fail(ErrorCode::kProtocol, fmt::format(format, std::forward<Args>(args)...));
}

// The struct at the front of `body`, which must have at least its size.
template <WireStruct T>
T copy_from(std::span<const std::byte> body) {
  assert(body.size() >= sizeof(T));
  T value;
  std::memcpy(&value, body.data(), sizeof(T));
  return value;
}

// The struct that is all of `body`.
template <WireStruct T>
Result<T> copy_whole(std::span<const std::byte> body) {
  if (body.size() != sizeof(T)) {
    return bad("{} has a body of {} bytes instead of {}", frame_type_name(T::kType), body.size(),
               sizeof(T));
  }
  return copy_from<T>(body);
}

bool is_zero(const Bytes16& id) { return id == Bytes16{}; }

Status check_region_bytes(std::uint64_t region_bytes, std::string_view what) {
  if (!std::has_single_bit(region_bytes) || region_bytes < kMinRegionBytes ||
      region_bytes > kMaxRegionBytes) {
    return bad("{} is {}, not a power of two from {} to {}", what, region_bytes, kMinRegionBytes,
               kMaxRegionBytes);
  }
  return {};
}

// What LEASE_GRANT and ATTACHED have in common.
template <typename T>
Status check_lease_terms(const T& terms) {
  const std::string name = frame_type_name(T::kType);
  if (Status status = check_region_bytes(terms.region_bytes, name + " region_bytes"); !status) {
    return status;
  }
  if (terms.region_count == 0 || terms.region_count > kMaxRegionsPerLease) {
    return bad("{} region_count is {}, not 1 to {}", name, terms.region_count, kMaxRegionsPerLease);
  }
  if (terms.bytes != terms.region_bytes * terms.region_count || terms.bytes > kMaxPoolBytes) {
    return bad("{} bytes is {}, not {} regions of {} bytes or over {}", name, terms.bytes,
               terms.region_count, terms.region_bytes, kMaxPoolBytes);
  }
  if (terms.heartbeat_interval_ms < kMinHeartbeatIntervalMs ||
      terms.heartbeat_interval_ms > kMaxHeartbeatIntervalMs) {
    return bad("{} heartbeat_interval_ms is {}, not {} to {}", name, terms.heartbeat_interval_ms,
               kMinHeartbeatIntervalMs, kMaxHeartbeatIntervalMs);
  }
  if (terms.grace_ms < terms.heartbeat_interval_ms || terms.grace_ms > kMaxGraceMs) {
    return bad("{} grace_ms is {}, not {} to {}", name, terms.grace_ms, terms.heartbeat_interval_ms,
               kMaxGraceMs);
  }
  return {};
}

DataRequest make_request(FrameType type, std::uint64_t tag, std::uint32_t region,
                         std::uint64_t offset, std::uint32_t length) {
  assert(length >= 1 && length <= kMaxDataBytes);
  const std::uint32_t payload_bytes = type == FrameType::kWrite ? length : 0;
  return {{kDataRequestBodyBytes + payload_bytes, type, 0, tag}, offset, length, region};
}

}  // namespace

std::string frame_type_name(FrameType type) {
  if (const FrameRow* row = find_frame(type)) {
    return std::string(row->name);
  }
  return fmt::format("type {}", static_cast<std::uint16_t>(type));
}

std::string wire_error_name(WireError code) {
  if (const WireErrorRow* row = find_wire_error(code)) {
    return std::string(row->name);
  }
  return fmt::format("code {}", static_cast<std::uint32_t>(code));
}

ErrorCode error_code_of(WireError code) {
  const WireErrorRow* row = find_wire_error(code);
  return row == nullptr ? ErrorCode::kIo : row->means;
}

std::string id_text(const Bytes16& id) { return fmt::format("{:02x}", fmt::join(id, "")); }

// ---- headers ----

Result<FrameHeader> decode_frame_header(std::span<const std::byte> bytes) {
  if (bytes.size() != sizeof(FrameHeader)) {
    return bad("a frame header of {} bytes instead of {}", bytes.size(), sizeof(FrameHeader));
  }
  const auto header = copy_from<FrameHeader>(bytes);
  const FrameRow* row = find_frame(header.type);
  if (row == nullptr) {
    return bad("unknown frame type {}", static_cast<std::uint16_t>(header.type));
  }
  if (header.flags != 0) {
    return bad("{} has flags 0x{:x}, but there are none", row->name, header.flags);
  }
  if (header.body_bytes < row->min_body_bytes || header.body_bytes > row->max_body_bytes) {
    return bad("{} has body_bytes {}, not {} to {}", row->name, header.body_bytes,
               row->min_body_bytes, row->max_body_bytes);
  }
  return header;
}

Status check_frame_allowed(const FrameHeader& header, FrameSet allowed, std::string_view state) {
  if (!allowed.contains(header.type)) {
    return bad("{} is not allowed in state {}", frame_type_name(header.type), state);
  }
  return {};
}

// ---- control: struct to frame ----

FrameBytes encode_frame(FrameType type, std::uint64_t tag, std::span<const std::byte> body) {
  assert(body.size() <= kMaxControlBodyBytes);
  const FrameHeader header{static_cast<std::uint32_t>(body.size()), type, 0, tag};
  FrameBytes frame(sizeof header + body.size());
  std::ranges::copy(bytes_of(header), frame.begin());
  std::ranges::copy(body, frame.begin() + sizeof header);
  return frame;
}

FrameBytes encode_empty(FrameType type, std::uint64_t tag) { return encode_frame(type, tag, {}); }

FrameBytes encode_regions(std::uint64_t tag, std::uint32_t first_index,
                          std::span<const RegionEntry> regions) {
  assert(!regions.empty() && regions.size() <= kMaxRegionsPerFrame);
  const RegionsHead head{first_index, static_cast<std::uint32_t>(regions.size())};
  std::vector<std::byte> body(sizeof head + regions.size_bytes());
  std::ranges::copy(bytes_of(head), body.begin());
  std::ranges::copy(std::as_bytes(regions), body.begin() + sizeof head);
  return encode_frame(FrameType::kRegions, tag, body);
}

FrameBytes encode_error(WireError code, std::string_view text) {
  const std::string clean = printable(text, kMaxErrorTextBytes);
  const ErrorHead head{code, static_cast<std::uint32_t>(clean.size())};
  std::vector<std::byte> body(sizeof head + clean.size());
  std::ranges::copy(bytes_of(head), body.begin());
  std::ranges::copy(std::as_bytes(std::span(clean)), body.begin() + sizeof head);
  return encode_frame(FrameType::kError, 0, body);
}

// ---- control: body to struct ----

Result<Hello> decode_hello(std::span<const std::byte> body) {
  auto hello = copy_whole<Hello>(body);
  if (!hello) {
    return hello;
  }
  if (hello->magic != kMagic) {
    return bad("HELLO magic is 0x{:08x}, not 0x{:08x}: the peer is not a requester", hello->magic,
               kMagic);
  }
  if (hello->version_min == 0 || hello->version_min > hello->version_max) {
    return bad("HELLO has versions {} to {}", hello->version_min, hello->version_max);
  }
  if (hello->role != Role::kControl && hello->role != Role::kData) {
    return bad("HELLO role is {}, neither control (1) nor data (2)",
               static_cast<std::uint32_t>(hello->role));
  }
  if (hello->reserved != 0) {
    return bad("HELLO reserved is {}, not 0", hello->reserved);
  }
  if (Status status = check_name(hello->name, "HELLO name"); !status) {
    return std::unexpected(status.error());
  }
  return hello;
}

Result<HelloReply> decode_hello_reply(std::span<const std::byte> body) {
  auto reply = copy_whole<HelloReply>(body);
  if (!reply) {
    return reply;
  }
  if (reply->magic != kMagic) {
    return bad("HELLO_REPLY magic is 0x{:08x}, not 0x{:08x}: the peer is not a provider",
               reply->magic, kMagic);
  }
  if (reply->version < kWireVersionMin || reply->version > kWireVersionMax) {
    return bad("HELLO_REPLY version is {}, not {} to {}", reply->version, kWireVersionMin,
               kWireVersionMax);
  }
  if (reply->auth_required > 1) {
    return bad("HELLO_REPLY auth_required is {}, neither 0 nor 1", reply->auth_required);
  }
  if (is_zero(reply->incarnation)) {
    return bad("HELLO_REPLY incarnation is all zero");
  }
  if (reply->pool_bytes > kMaxPoolBytes || reply->free_bytes > reply->pool_bytes) {
    return bad("HELLO_REPLY has free_bytes {} of pool_bytes {} (at most {})", reply->free_bytes,
               reply->pool_bytes, kMaxPoolBytes);
  }
  if (Status status = check_region_bytes(reply->segment_bytes, "HELLO_REPLY segment_bytes");
      !status) {
    return std::unexpected(status.error());
  }
  if (Status status = check_name(reply->name, "HELLO_REPLY name"); !status) {
    return std::unexpected(status.error());
  }
  return reply;
}

Result<LeaseRequest> decode_lease_request(std::span<const std::byte> body) {
  auto request = copy_whole<LeaseRequest>(body);
  if (!request) {
    return request;
  }
  if (request->wanted_bytes > kMaxPoolBytes) {
    return bad("LEASE_REQUEST wanted_bytes is {}, over {}", request->wanted_bytes, kMaxPoolBytes);
  }
  if ((request->flags & ~kLeaseWantDescriptors) != 0) {
    return bad("LEASE_REQUEST has unknown flags 0x{:x}", request->flags);
  }
  if (request->reserved != 0) {
    return bad("LEASE_REQUEST reserved is {}, not 0", request->reserved);
  }
  return request;
}

Result<LeaseGrant> decode_lease_grant(std::span<const std::byte> body) {
  auto grant = copy_whole<LeaseGrant>(body);
  if (!grant) {
    return grant;
  }
  if (is_zero(grant->lease_id)) {
    return bad("LEASE_GRANT lease_id is all zero");
  }
  if (Status status = check_lease_terms(*grant); !status) {
    return std::unexpected(status.error());
  }
  if ((grant->flags & ~kGrantDescriptors) != 0) {
    return bad("LEASE_GRANT has unknown flags 0x{:x}", grant->flags);
  }
  return grant;
}

Result<LeaseWait> decode_lease_wait(std::span<const std::byte> body) {
  auto wait = copy_whole<LeaseWait>(body);
  if (!wait) {
    return wait;
  }
  if (wait->reclaiming_bytes > kMaxPoolBytes) {
    return bad("LEASE_WAIT reclaiming_bytes is {}, over {}", wait->reclaiming_bytes, kMaxPoolBytes);
  }
  if (wait->retry_ms == 0 || wait->retry_ms > kMaxRetryMs) {
    return bad("LEASE_WAIT retry_ms is {}, not 1 to {}", wait->retry_ms, kMaxRetryMs);
  }
  if (wait->reserved != 0) {
    return bad("LEASE_WAIT reserved is {}, not 0", wait->reserved);
  }
  return wait;
}

Result<DecodedRegions> decode_regions(std::span<const std::byte> body) {
  if (body.size() < sizeof(RegionsHead)) {
    return bad("REGIONS has a body of {} bytes", body.size());
  }
  const auto head = copy_from<RegionsHead>(body);
  const auto entries = body.subspan(sizeof(RegionsHead));
  if (head.count == 0 || head.count > kMaxRegionsPerFrame) {
    return bad("REGIONS count is {}, not 1 to {}", head.count, kMaxRegionsPerFrame);
  }
  if (entries.size() != head.count * sizeof(RegionEntry)) {
    return bad("REGIONS count is {}, but {} bytes follow", head.count, entries.size());
  }
  if (!range_is_inside(head.first_index, head.count, kMaxRegionsPerLease)) {
    return bad("REGIONS has {} regions from index {}, over {}", head.count, head.first_index,
               kMaxRegionsPerLease);
  }
  DecodedRegions decoded{head.first_index, std::vector<RegionEntry>(head.count)};
  std::memcpy(decoded.regions.data(), entries.data(), entries.size());
  for (const RegionEntry& region : decoded.regions) {
    if (Status status = check_region_bytes(region.length, "REGIONS length"); !status) {
      return std::unexpected(status.error());
    }
    if (region.base > UINT64_MAX - region.length) {
      return bad("REGIONS base 0x{:x} and length {} wrap", region.base, region.length);
    }
  }
  return decoded;
}

Result<RegionFds> decode_region_fds(std::span<const std::byte> body) {
  auto fds = copy_whole<RegionFds>(body);
  if (!fds) {
    return fds;
  }
  if (fds->count == 0 || fds->count > kMaxDescriptorsPerFrame) {
    return bad("REGION_FDS count is {}, not 1 to {}", fds->count, kMaxDescriptorsPerFrame);
  }
  if (!range_is_inside(fds->first_index, fds->count, kMaxRegionsPerLease)) {
    return bad("REGION_FDS has {} regions from index {}, over {}", fds->count, fds->first_index,
               kMaxRegionsPerLease);
  }
  return fds;
}

Result<Attach> decode_attach(std::span<const std::byte> body) {
  auto attach = copy_whole<Attach>(body);
  if (attach && is_zero(attach->lease_id)) {
    return bad("ATTACH lease_id is all zero");
  }
  return attach;
}

Result<Attached> decode_attached(std::span<const std::byte> body) {
  auto attached = copy_whole<Attached>(body);
  if (!attached) {
    return attached;
  }
  if (Status status = check_lease_terms(*attached); !status) {
    return std::unexpected(status.error());
  }
  if ((attached->flags & ~kAttachedRegions) != 0) {
    return bad("ATTACHED flags is 0x{:x}, with unknown bits", attached->flags);
  }
  return attached;
}

Result<StatsReply> decode_stats_reply(std::span<const std::byte> body) {
  auto stats = copy_whole<StatsReply>(body);
  if (stats && stats->pool_bytes > kMaxPoolBytes) {
    return bad("STATS_REPLY pool_bytes is {}, over {}", stats->pool_bytes, kMaxPoolBytes);
  }
  return stats;
}

Result<DecodedError> decode_error(std::span<const std::byte> body) {
  if (body.size() < sizeof(ErrorHead)) {
    return bad("ERROR has a body of {} bytes", body.size());
  }
  const auto head = copy_from<ErrorHead>(body);
  const auto rest = body.subspan(sizeof(ErrorHead));
  if (head.text_bytes > kMaxErrorTextBytes || head.text_bytes != rest.size()) {
    return bad("ERROR text_bytes is {} (at most {}), but {} bytes follow", head.text_bytes,
               kMaxErrorTextBytes, rest.size());
  }
  DecodedError error;
  error.code = find_wire_error(head.code) == nullptr ? WireError::kInternal : head.code;
  error.text.resize(rest.size());
  std::ranges::copy(rest, std::as_writable_bytes(std::span(error.text)).begin());
  if (Status status = check_printable(error.text, "ERROR text"); !status) {
    return std::unexpected(status.error());
  }
  return error;
}

Result<std::uint16_t> choose_version(const Hello& hello) {
  const std::uint16_t version = std::min(hello.version_max, kWireVersionMax);
  if (version < std::max(hello.version_min, kWireVersionMin)) {
    return fail(
        ErrorCode::kRefused,
        fmt::format("no common protocol version: the requester speaks {} to {}, this "
                    "provider {} to {}; install the same release on both hosts",
                    hello.version_min, hello.version_max, kWireVersionMin, kWireVersionMax));
  }
  return version;
}

// ---- data ----

DataRequest make_read(std::uint64_t tag, std::uint32_t region, std::uint64_t offset,
                      std::uint32_t length) {
  return make_request(FrameType::kRead, tag, region, offset, length);
}

DataRequest make_write(std::uint64_t tag, std::uint32_t region, std::uint64_t offset,
                       std::uint32_t length) {
  return make_request(FrameType::kWrite, tag, region, offset, length);
}

FrameHeader make_read_reply(std::uint64_t tag, std::uint32_t length) {
  return {length, FrameType::kReadReply, 0, tag};
}

FrameHeader make_write_reply(std::uint64_t tag) { return {0, FrameType::kWriteReply, 0, tag}; }

Result<DataRequest> decode_data_request(std::span<const std::byte> bytes) {
  if (bytes.size() != sizeof(DataRequest)) {
    return bad("a data request of {} bytes instead of {}", bytes.size(), sizeof(DataRequest));
  }
  if (auto header = decode_frame_header(bytes.first(sizeof(FrameHeader))); !header) {
    return std::unexpected(std::move(header).error());
  }
  const auto request = copy_from<DataRequest>(bytes);
  const FrameHeader& header = request.header;
  if (header.type != FrameType::kRead && header.type != FrameType::kWrite) {
    return bad("{} is no data request", frame_type_name(header.type));
  }
  if (request.length == 0 || request.length > kMaxDataBytes) {
    return bad("{} length is {}, not 1 to {}", frame_type_name(header.type), request.length,
               kMaxDataBytes);
  }
  const std::uint32_t payload_bytes = header.type == FrameType::kWrite ? request.length : 0;
  if (header.body_bytes != kDataRequestBodyBytes + payload_bytes) {
    return bad("{} of length {} has body_bytes {}", frame_type_name(header.type), request.length,
               header.body_bytes);
  }
  return request;
}

Status check_data_range(const DataRequest& request, const RegionLimits& limits) {
  if (request.region >= limits.region_count) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("{} of region {}, but the lease has {}",
                                                         frame_type_name(request.header.type),
                                                         request.region, limits.region_count));
  }
  if (!range_is_inside(request.offset, request.length, limits.region_bytes)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{} of {} bytes at offset {} in a region of {} bytes",
                            frame_type_name(request.header.type), request.length, request.offset,
                            limits.region_bytes));
  }
  return {};
}

Status check_data_reply(const FrameHeader& reply, const DataRequest& request) {
  const bool is_read = request.header.type == FrameType::kRead;
  const FrameType expected = is_read ? FrameType::kReadReply : FrameType::kWriteReply;
  if (reply.type != expected) {
    return bad("{} is answered by {}", frame_type_name(request.header.type),
               frame_type_name(reply.type));
  }
  if (reply.tag != request.header.tag) {
    return bad("{} has tag {}, the oldest request has {}", frame_type_name(reply.type), reply.tag,
               request.header.tag);
  }
  if (reply.body_bytes != (is_read ? request.length : 0)) {
    return bad("{} has body_bytes {} for a request of {} bytes", frame_type_name(reply.type),
               reply.body_bytes, request.length);
  }
  return {};
}

}  // namespace rram
