#include "rdma/session/provider_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <iterator>
#include <limits>
#include <utility>

#include "rdma/wire/text.h"

namespace rram {

namespace {

// In the order of State.
constexpr std::array<std::string_view, 9> kStateNames = {
    "HELLO", "AUTH", "READY", "GRANTING", "ATTACHING", "LEASED", "RELEASING", "ATTACHED", "CLOSED"};

constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

template <typename Action>
void add(ProviderActions& actions, Action action) {
  actions.emplace_back(std::move(action));
}

ProviderActions one(ProviderAction action) {
  ProviderActions actions;
  actions.push_back(std::move(action));
  return actions;
}

// LEASE_GRANT and the REGION_FDS frames behind it.
ProviderActions grant_frames(std::uint64_t tag, const LeaseTerms& terms, bool descriptors) {
  ProviderActions actions;
  const LeaseGrant grant{terms.lease_id,     terms.token,
                         terms.size_bytes(), terms.region_bytes,
                         terms.region_count, terms.heartbeat_interval_ms,
                         terms.grace_ms,     descriptors ? kGrantDescriptors : 0};
  add(actions, SendFrame{encode(tag, grant)});
  for (std::uint32_t first = 0; descriptors && first < terms.region_count;
       first += kMaxDescriptorsPerFrame) {
    const std::uint32_t count = std::min(kMaxDescriptorsPerFrame, terms.region_count - first);
    add(actions, SendDescriptors{encode(tag, RegionFds{first, count}), first, count});
  }
  return actions;
}

// ATTACHED and the REGIONS frames behind it.
ProviderActions attached_frames(std::uint64_t tag, const LeaseTerms& terms,
                                std::span<const RegionEntry> regions) {
  ProviderActions actions;
  const Attached attached{terms.size_bytes(), terms.region_bytes,
                          terms.region_count, terms.heartbeat_interval_ms,
                          terms.grace_ms,     regions.empty() ? 0 : kAttachedRegions};
  add(actions, SendFrame{encode(tag, attached)});
  for (std::uint32_t first = 0; first < regions.size(); first += kMaxRegionsPerFrame) {
    const std::size_t count = std::min<std::size_t>(kMaxRegionsPerFrame, regions.size() - first);
    add(actions, SendFrame{encode_regions(tag, first, regions.subspan(first, count))});
  }
  return actions;
}

}  // namespace

ProviderSession::ProviderSession(ProviderSessionOptions options, std::uint64_t now_ms)
    : options_(std::move(options)), accepted_at_ms_(now_ms), last_frame_ms_(now_ms) {
  assert(options_.incarnation != Incarnation{});
}

// ---- what the connection brings ----

FrameSet ProviderSession::accepted() const {
  using enum FrameType;
  switch (state_) {
    case State::kHello:
      return FrameSet(kHello, kError);
    case State::kAuth:
      return FrameSet(kAuth, kError);
    case State::kReady:
      return role_ == Role::kControl ? FrameSet(kLeaseRequest, kAttach, kStatsRequest, kError)
                                     : FrameSet(kAttach, kError);
    case State::kLeased:
      return FrameSet(kHeartbeat, kStatsRequest, kRelease, kError);
    case State::kGranting:
    case State::kAttaching:
    case State::kReleasing:
    case State::kAttached:
      return FrameSet(kError);
    case State::kClosed:
      break;
  }
  return {};
}

std::string_view ProviderSession::state_name() const {
  return kStateNames[static_cast<std::size_t>(state_)];
}

ProviderActions ProviderSession::on_frame(const FrameHeader& header,
                                          std::span<const std::byte> body,
                                          std::size_t descriptor_count, std::uint64_t now_ms) {
  if (state_ == State::kClosed) {
    return {};
  }
  if (Status status = check_frame_allowed(header, accepted(), state_name()); !status) {
    return on_malformed(status.error());
  }
  if (descriptor_count != 0) {
    return on_malformed(
        {ErrorCode::kProtocol, fmt::format("{} came with {} descriptors, a requester sends none",
                                           frame_type_name(header.type), descriptor_count)});
  }
  last_frame_ms_ = now_ms;
  tag_ = header.tag;
  switch (header.type) {
    case FrameType::kHello:
      return on_hello(header, body, now_ms);
    case FrameType::kAuth:
      return on_auth(header, body, now_ms);
    case FrameType::kLeaseRequest:
      return on_lease_request(body, now_ms);
    case FrameType::kAttach:
      return on_attach(body, now_ms);
    case FrameType::kHeartbeat:
      return one(SendFrame{encode_empty(FrameType::kHeartbeatReply, header.tag)});
    case FrameType::kStatsRequest:
      return one(WantStats{header.tag});
    case FrameType::kRelease:
      state_ = State::kReleasing;
      return one(WantRelease{});
    default:  // accepted() leaves only ERROR
      return on_error(body);
  }
}

ProviderActions ProviderSession::on_hello(const FrameHeader& header,
                                          std::span<const std::byte> body, std::uint64_t now_ms) {
  const auto hello = decode_hello(body);
  if (!hello) {
    return on_malformed(hello.error());
  }
  requester_name_ = name_view(hello->name);
  role_ = hello->role;
  const auto version = choose_version(*hello);
  if (!version) {
    return fail_with(WireError::kVersion, ErrorCode::kRefused, version.error().message);
  }
  version_ = *version;
  features_ = hello->features & usable_features();
  if (options_.requires_records && options_.can_use_records && (features_ & kFeatureTls) == 0) {
    return fail_with(WireError::kRefused, ErrorCode::kRefused,
                     "this provider takes TCP connections only with tls: mount with -o tls and the "
                     "provider's key file");
  }
  const bool auth_required = options_.key.has_value();
  const HelloReply reply{kMagic,
                         version_,
                         static_cast<std::uint16_t>(auth_required ? 1 : 0),
                         features_,
                         options_.incarnation,
                         options_.pool_bytes,
                         options_.free_bytes,
                         options_.segment_bytes,
                         make_name(options_.provider_name)};
  FrameBytes reply_frame = encode(header.tag, reply);
  if (!auth_required) {
    enter_ready(now_ms);
    return one(SendFrame{std::move(reply_frame)});
  }
  const FrameBytes hello_frame = encode_frame(FrameType::kHello, header.tag, body);
  auto handshake = PskHandshake::provider(*options_.key, hello_frame, reply_frame);
  if (!handshake) {
    return fail_with(WireError::kInternal, handshake.error().code, handshake.error().message);
  }
  handshake_ = std::move(*handshake);
  state_ = State::kAuth;
  return one(SendFrame{std::move(reply_frame)});
}

// What this connection may use of what a requester asks for.
std::uint64_t ProviderSession::usable_features() const {
  const bool has_records = options_.can_use_records && options_.key;
  return (options_.can_pass_descriptors ? kFeatureDescriptors : 0) |
         (has_records ? kFeatureTls : 0);
}

ProviderActions ProviderSession::on_auth(const FrameHeader& header, std::span<const std::byte> body,
                                         std::uint64_t now_ms) {
  if (header.tag != 0) {
    return on_malformed({ErrorCode::kProtocol, fmt::format("AUTH has tag {}, not 0", header.tag)});
  }
  if (++auth_frames_ > kMaxAuthFrames) {
    return on_malformed(
        {ErrorCode::kProtocol, fmt::format("more than {} AUTH frames", kMaxAuthFrames)});
  }
  auto output = handshake_->advance(body);
  if (!output) {
    return fail_with(WireError::kAuthentication, output.error().code, output.error().message);
  }
  if (output->size() > kMaxAuthBytes) {
    return on_malformed({ErrorCode::kProtocol, "AUTH asks for more than it may"});
  }
  ProviderActions actions;
  if (!output->empty()) {
    add(actions, SendFrame{encode_frame(FrameType::kAuth, 0, *output)});
  }
  if (handshake_->done()) {
    std::ranges::move(finish_auth(now_ms), std::back_inserter(actions));
  }
  return actions;
}

ProviderActions ProviderSession::finish_auth(std::uint64_t now_ms) {
  ProviderActions actions;
  if ((features_ & kFeatureTls) != 0) {
    const Result<RecordKeys> keys = handshake_->record_keys();
    if (!keys) return fail_with(WireError::kInternal, keys.error().code, keys.error().message);
    add(actions, StartRecords{*keys});
  }
  handshake_.reset();
  enter_ready(now_ms);
  return actions;
}

ProviderActions ProviderSession::on_lease_request(std::span<const std::byte> body,
                                                  std::uint64_t now_ms) {
  const auto request = decode_lease_request(body);
  if (!request) {
    return on_malformed(request.error());
  }
  wants_descriptors_ = (request->flags & kLeaseWantDescriptors) != 0;
  if (wants_descriptors_ && (features_ & kFeatureDescriptors) == 0) {
    return on_malformed({ErrorCode::kProtocol,
                         "LEASE_REQUEST wants descriptors on a connection that cannot pass them"});
  }
  state_ = State::kGranting;
  next_pending_ms_ = now_ms + kPendingIntervalMs;
  return one(WantLease{request->wanted_bytes, wants_descriptors_});
}

ProviderActions ProviderSession::on_attach(std::span<const std::byte> body, std::uint64_t now_ms) {
  const auto attach = decode_attach(body);
  if (!attach) {
    return on_malformed(attach.error());
  }
  if ((attach->lane != 0) != (role_ == Role::kData)) {
    return on_malformed(
        {ErrorCode::kProtocol, fmt::format("ATTACH lane is {} on a {} connection", attach->lane,
                                           role_ == Role::kData ? "data" : "control")});
  }
  state_ = State::kAttaching;
  next_pending_ms_ = now_ms + kPendingIntervalMs;
  lease_id_ = attach->lease_id;
  return one(WantAttach{*role_, attach->lease_id, attach->token, attach->lane});
}

ProviderActions ProviderSession::on_error(std::span<const std::byte> body) {
  const auto error = decode_error(body);
  if (!error) {
    // ERROR is never answered, not even a bad one.
    return close_with(ErrorCode::kProtocol, error.error().message, false);
  }
  return close_with(
      error_code_of(error->code),
      fmt::format("it ended the session: {} ({})", error->text, wire_error_name(error->code)),
      false);
}

ProviderActions ProviderSession::on_malformed(const Error& error) {
  return fail_with(WireError::kProtocol, ErrorCode::kProtocol, error.message);
}

ProviderActions ProviderSession::on_closed() {
  return close_with(ErrorCode::kDisconnected,
                    fmt::format("the connection ended in state {}", state_name()), false);
}

std::uint64_t ProviderSession::next_deadline_ms() const {
  const std::uint64_t handshake_deadline_ms = accepted_at_ms_ + options_.handshake_limit_ms;
  switch (state_) {
    case State::kHello:
    case State::kAuth:
      return handshake_deadline_ms;
    case State::kReady:
      return role_ == Role::kData ? handshake_deadline_ms : last_frame_ms_ + options_.idle_limit_ms;
    case State::kLeased:
      return last_frame_ms_ + silence_limit_ms_;
    case State::kGranting:
    case State::kAttaching:
      return next_pending_ms_;
    default:
      return kNever;
  }
}

ProviderActions ProviderSession::on_tick(std::uint64_t now_ms) {
  if (now_ms < next_deadline_ms()) {
    return {};
  }
  if (state_ == State::kGranting || state_ == State::kAttaching) {
    next_pending_ms_ = now_ms + kPendingIntervalMs;
    return one(SendFrame{encode_empty(FrameType::kPending, tag_)});
  }
  const std::uint64_t since_ms =
      state_ == State::kLeased || role_ == Role::kControl ? last_frame_ms_ : accepted_at_ms_;
  return fail_with(
      WireError::kTimedOut, ErrorCode::kTimedOut,
      fmt::format("nothing came for {} ms in state {}", now_ms - since_ms, state_name()));
}

// ---- what the provider decides ----

ProviderActions ProviderSession::grant(const LeaseTerms& terms, std::uint64_t now_ms) {
  assert(state_ == State::kGranting || state_ == State::kClosed);
  if (state_ == State::kClosed) {
    return {};
  }
  lease_id_ = terms.lease_id;
  enter_leased(terms, now_ms);
  return grant_frames(tag_, terms, wants_descriptors_);
}

ProviderActions ProviderSession::wait(std::uint64_t reclaiming_bytes, std::uint32_t retry_ms,
                                      std::uint64_t now_ms) {
  assert(state_ == State::kGranting || state_ == State::kClosed);
  assert(retry_ms >= 1 && retry_ms <= kMaxRetryMs);
  if (state_ == State::kClosed) {
    return {};
  }
  enter_ready(now_ms);
  return one(SendFrame{encode(tag_, LeaseWait{reclaiming_bytes, retry_ms, 0})});
}

ProviderActions ProviderSession::attached(const LeaseTerms& terms,
                                          std::span<const RegionEntry> regions,
                                          std::uint64_t now_ms) {
  assert(state_ == State::kAttaching || state_ == State::kClosed);
  if (state_ == State::kClosed) {
    return {};
  }
  if (role_ == Role::kControl) {
    enter_leased(terms, now_ms);
  } else {
    state_ = State::kAttached;
  }
  return attached_frames(tag_, terms, regions);
}

ProviderActions ProviderSession::stats(std::uint64_t tag, const StatsReply& reply) {
  if (state_ == State::kClosed) {
    return {};
  }
  return one(SendFrame{encode(tag, reply)});
}

ProviderActions ProviderSession::released() {
  assert(state_ == State::kReleasing || state_ == State::kClosed);
  if (state_ == State::kClosed) {
    return {};
  }
  ProviderActions actions = one(SendFrame{encode_empty(FrameType::kReleased, tag_)});
  lease_id_.reset();
  std::ranges::move(close_with(ErrorCode::kCancelled, "it released its lease", true),
                    std::back_inserter(actions));
  return actions;
}

ProviderActions ProviderSession::end(WireError code, std::string_view text) {
  return fail_with(code, error_code_of(code), text);
}

// ---- private ----

void ProviderSession::enter_leased(const LeaseTerms& terms, std::uint64_t now_ms) {
  state_ = State::kLeased;
  last_frame_ms_ = now_ms;
  silence_limit_ms_ = std::uint64_t{kMissedHeartbeats} * terms.heartbeat_interval_ms;
}

void ProviderSession::enter_ready(std::uint64_t now_ms) {
  state_ = State::kReady;
  last_frame_ms_ = now_ms;
}

// Tells the peer, then closes. `own_code` is what it means on this side.
ProviderActions ProviderSession::fail_with(WireError code, ErrorCode own_code,
                                           std::string_view text) {
  if (state_ == State::kClosed) {
    return {};
  }
  ProviderActions actions = one(SendFrame{encode_error(code, text)});
  std::ranges::move(close_with(own_code, text, false), std::back_inserter(actions));
  return actions;
}

ProviderActions ProviderSession::close_with(ErrorCode code, std::string_view text, bool orderly) {
  if (state_ == State::kClosed) {
    return {};
  }
  if (state_ == State::kAttaching) {
    lease_id_.reset();  // it was only asked for
  }
  state_ = State::kClosed;
  handshake_.reset();
  return one(CloseConnection{{code, fmt::format("{}: {}", peer_text(), text)}, orderly});
}

std::string ProviderSession::peer_text() const {
  return requester_name_.empty() ? "requester" : fmt::format("requester {}", requester_name_);
}

}  // namespace rram
