#include "rdma/session/requester_session.h"

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
constexpr std::array<std::string_view, 13> kStateNames = {
    "START",         "HELLO_SENT",  "AUTH",        "READY",   "LEASE_SENT",
    "LEASE_WAITING", "DESCRIPTORS", "ATTACH_SENT", "REGIONS", "LEASED",
    "RELEASE_SENT",  "ATTACHED",    "CLOSED"};

constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

RequesterActions one(RequesterAction action) {
  RequesterActions actions;
  actions.push_back(std::move(action));
  return actions;
}

void append(RequesterActions& actions, RequesterActions more) {
  std::ranges::move(more, std::back_inserter(actions));
}

}  // namespace

RequesterSession::RequesterSession(RequesterSessionOptions options) : options_(std::move(options)) {
  assert(options_.role == Role::kControl || std::holds_alternative<JoinLease>(options_.goal));
  assert(options_.key || !options_.wants_records);
}

RequesterActions RequesterSession::start(std::uint64_t now_ms) {
  assert(state_ == State::kStart || state_ == State::kClosed);
  if (state_ == State::kClosed) {
    return {};
  }
  const Hello hello{kMagic,
                    kWireVersionMin,
                    kWireVersionMax,
                    features(),
                    options_.role,
                    0,
                    make_name(options_.requester_name)};
  state_ = State::kHelloSent;
  hello_frame_ = ask(encode(next_tag_, hello), FrameType::kHello, now_ms, options_.reply_limit_ms);
  return one(SendFrame{hello_frame_});
}

// ---- what the connection brings ----

FrameSet RequesterSession::accepted() const {
  using enum FrameType;
  switch (state_) {
    case State::kHelloSent:
      return FrameSet(kHelloReply, kError);
    case State::kAuth:
      return FrameSet(kAuth, kError);
    case State::kReady:
      return FrameSet(kStatsReply, kError);
    case State::kLeaseSent:
      return FrameSet(kLeaseGrant, kLeaseWait, kPending, kError);
    case State::kDescriptors:
      return FrameSet(kRegionFds, kError);
    case State::kAttachSent:
      return FrameSet(FrameType::kAttached, kPending, kError);
    case State::kRegions:
      return FrameSet(FrameType::kRegions, kError);
    case State::kLeased:
      return FrameSet(kHeartbeatReply, kStatsReply, kError);
    case State::kReleaseSent:
      return FrameSet(kHeartbeatReply, kStatsReply, kReleased, kError);
    case State::kLeaseWaiting:
    case State::kAttached:
      return FrameSet(kError);
    case State::kStart:
    case State::kClosed:
      break;
  }
  return {};
}

std::string_view RequesterSession::state_name() const {
  return kStateNames[static_cast<std::size_t>(state_)];
}

RequesterActions RequesterSession::on_frame(const FrameHeader& header,
                                            std::span<const std::byte> body,
                                            std::size_t descriptor_count, std::uint64_t now_ms) {
  if (state_ == State::kClosed) {
    return {};
  }
  if (Status status = check_frame_allowed(header, accepted(), state_name()); !status) {
    return on_malformed(status.error());
  }
  if (header.type == FrameType::kError) {
    return on_error(body);
  }
  if (descriptor_count != 0 && header.type != FrameType::kRegionFds) {
    return on_malformed(
        {ErrorCode::kProtocol, fmt::format("{} came with {} descriptors",
                                           frame_type_name(header.type), descriptor_count)});
  }
  if (Status status = check_tag(header); !status) {
    return on_malformed(status.error());
  }
  return dispatch(header, body, descriptor_count, now_ms);
}

// AUTH answers nothing; REGIONS and REGION_FDS answer a request together with the frame before
// them, PENDING together with the one after it.
Status RequesterSession::check_tag(const FrameHeader& header) const {
  if (header.type == FrameType::kAuth) {
    return header.tag == 0
               ? Status{}
               : fail(ErrorCode::kProtocol, fmt::format("AUTH has tag {}, not 0", header.tag));
  }
  if (unanswered_.empty()) {
    return fail(ErrorCode::kProtocol,
                fmt::format("{} answers nothing", frame_type_name(header.type)));
  }
  const Unanswered& oldest = unanswered_.front();
  if (header.tag != oldest.tag) {
    return fail(ErrorCode::kProtocol, fmt::format("{} has tag {}, the oldest request ({}) has {}",
                                                  frame_type_name(header.type), header.tag,
                                                  frame_type_name(oldest.type), oldest.tag));
  }
  const auto answers = [&](FrameType reply, FrameType request) {
    return header.type == reply && oldest.type != request;
  };
  if (answers(FrameType::kHeartbeatReply, FrameType::kHeartbeat) ||
      answers(FrameType::kStatsReply, FrameType::kStatsRequest) ||
      answers(FrameType::kReleased, FrameType::kRelease)) {
    return fail(ErrorCode::kProtocol, fmt::format("{} answers {}", frame_type_name(header.type),
                                                  frame_type_name(oldest.type)));
  }
  return {};
}

RequesterActions RequesterSession::dispatch(const FrameHeader& header,
                                            std::span<const std::byte> body,
                                            std::size_t descriptor_count, std::uint64_t now_ms) {
  switch (header.type) {
    case FrameType::kHelloReply:
      return on_hello_reply(header, body, now_ms);
    case FrameType::kAuth:
      return on_auth(body, now_ms);
    case FrameType::kLeaseGrant:
      return on_lease_grant(body, now_ms);
    case FrameType::kLeaseWait:
      return on_lease_wait(body, now_ms);
    case FrameType::kRegions:
      return on_regions(body, now_ms);
    case FrameType::kRegionFds:
      return on_region_fds(body, descriptor_count, now_ms);
    case FrameType::kAttached:
      return on_attached(body, now_ms);
    case FrameType::kPending:
      return on_pending(now_ms);
    case FrameType::kHeartbeatReply:
      confirm_lease();
      unanswered_.pop_front();
      return {};
    case FrameType::kStatsReply:
      return on_stats_reply(body);
    default:  // accepted() leaves only RELEASED
      unanswered_.pop_front();
      return close_with(ErrorCode::kCancelled, "the lease was released", true);
  }
}

RequesterActions RequesterSession::on_hello_reply(const FrameHeader& header,
                                                  std::span<const std::byte> body,
                                                  std::uint64_t now_ms) {
  const auto reply = decode_hello_reply(body);
  if (!reply) {
    return on_malformed(reply.error());
  }
  if ((reply->features & ~features()) != 0) {
    return on_malformed({ErrorCode::kProtocol,
                         fmt::format("HELLO_REPLY features 0x{:x} has bits that HELLO (0x{:x}) has "
                                     "not",
                                     reply->features, features())});
  }
  unanswered_.pop_front();
  hello_reply_ = *reply;
  const bool auth_required = reply->auth_required != 0;
  if (auth_required && !options_.key) {
    return fail_with(WireError::kAuthentication, ErrorCode::kRefused,
                     "the provider requires a key and this requester was given none: give it the "
                     "provider's key file");
  }
  if (!auth_required && options_.key) {
    return fail_with(WireError::kAuthentication, ErrorCode::kRefused,
                     "the provider has no key and cannot prove itself to this requester, which was "
                     "given one: start the provider with the same key file, or use no key here");
  }
  if (options_.wants_records && (reply->features & kFeatureTls) == 0) {
    return fail_with(WireError::kRefused, ErrorCode::kRefused,
                     "it does not offer tls: its rram-provider is older than this rramfs, or "
                     "somebody on the way wants to listen. Bring it up to date, or mount without "
                     "tls");
  }
  return auth_required ? begin_auth(header, body, now_ms) : pursue_goal(now_ms);
}

RequesterActions RequesterSession::begin_auth(const FrameHeader& header,
                                              std::span<const std::byte> body,
                                              std::uint64_t now_ms) {
  const FrameBytes reply_frame = encode_frame(FrameType::kHelloReply, header.tag, body);
  auto handshake = PskHandshake::requester(*options_.key, hello_frame_, reply_frame);
  if (!handshake) {
    return fail_with(WireError::kInternal, handshake.error().code, handshake.error().message);
  }
  handshake_ = std::move(*handshake);
  state_ = State::kAuth;
  deadline_ms_ = now_ms + options_.reply_limit_ms;
  const auto first = handshake_->advance({});
  if (!first) {
    return fail_with(WireError::kInternal, first.error().code, first.error().message);
  }
  return one(SendFrame{encode_frame(FrameType::kAuth, 0, *first)});
}

RequesterActions RequesterSession::on_auth(std::span<const std::byte> body, std::uint64_t now_ms) {
  if (++auth_frames_ > kMaxAuthFrames) {
    return on_malformed(
        {ErrorCode::kProtocol, fmt::format("more than {} AUTH frames", kMaxAuthFrames)});
  }
  const auto output = handshake_->advance(body);
  if (!output) {
    return fail_with(WireError::kAuthentication, output.error().code, output.error().message);
  }
  if (output->size() > kMaxAuthBytes) {
    return on_malformed({ErrorCode::kProtocol, "AUTH asks for more than it may"});
  }
  RequesterActions actions;
  if (!output->empty()) {
    actions.emplace_back(SendFrame{encode_frame(FrameType::kAuth, 0, *output)});
  }
  if (handshake_->done()) {
    append(actions, finish_auth(now_ms));
  } else {
    deadline_ms_ = now_ms + options_.reply_limit_ms;
  }
  return actions;
}

RequesterActions RequesterSession::finish_auth(std::uint64_t now_ms) {
  RequesterActions actions;
  if (options_.wants_records) {
    const Result<RecordKeys> keys = handshake_->record_keys();
    if (!keys) return fail_with(WireError::kInternal, keys.error().code, keys.error().message);
    actions.emplace_back(StartRecords{*keys});
  }
  handshake_.reset();
  append(actions, pursue_goal(now_ms));
  return actions;
}

// What this connection asks for.
std::uint64_t RequesterSession::features() const {
  return (options_.can_take_descriptors ? kFeatureDescriptors : 0) |
         (options_.wants_records ? kFeatureTls : 0);
}

// The provider is known, and proved if there is a key: only now its incarnation counts.
RequesterActions RequesterSession::pursue_goal(std::uint64_t now_ms) {
  if (std::holds_alternative<TakeLease>(options_.goal)) {
    return send_lease_request(now_ms);
  }
  if (const auto* join = std::get_if<JoinLease>(&options_.goal)) {
    if (hello_reply_->incarnation != join->incarnation) {
      return fail_with(WireError::kNoLease, ErrorCode::kLost,
                       "the provider was restarted, the memory that it lent before is lost");
    }
    state_ = State::kAttachSent;
    const Attach attach{join->terms.lease_id, join->terms.token, join->lane};
    return one(SendFrame{
        ask(encode(next_tag_, attach), FrameType::kAttach, now_ms, options_.reply_limit_ms)});
  }
  state_ = State::kReady;
  return one(SessionReady{});
}

RequesterActions RequesterSession::send_lease_request(std::uint64_t now_ms) {
  const auto& goal = std::get<TakeLease>(options_.goal);
  if (goal.descriptors && (hello_reply_->features & kFeatureDescriptors) == 0) {
    return fail_with(WireError::kRefused, ErrorCode::kRefused,
                     "the provider does not pass its memory over this connection");
  }
  state_ = State::kLeaseSent;
  const LeaseRequest request{goal.wanted_bytes, goal.descriptors ? kLeaseWantDescriptors : 0, 0};
  return one(SendFrame{
      ask(encode(next_tag_, request), FrameType::kLeaseRequest, now_ms, options_.reply_limit_ms)});
}

RequesterActions RequesterSession::on_lease_grant(std::span<const std::byte> body,
                                                  std::uint64_t now_ms) {
  const auto grant = decode_lease_grant(body);
  if (!grant) {
    return on_malformed(grant.error());
  }
  const bool descriptors_follow = (grant->flags & kGrantDescriptors) != 0;
  if (descriptors_follow != std::get<TakeLease>(options_.goal).descriptors) {
    return on_malformed(
        {ErrorCode::kProtocol,
         fmt::format("LEASE_GRANT flags is {}, not what was asked for", grant->flags)});
  }
  if (grant->region_bytes != hello_reply_->segment_bytes) {
    return on_malformed({ErrorCode::kProtocol,
                         fmt::format("LEASE_GRANT region_bytes is {}, HELLO_REPLY segment_bytes {}",
                                     grant->region_bytes, hello_reply_->segment_bytes)});
  }
  terms_ = {grant->lease_id,
            grant->token,
            grant->region_bytes,
            grant->region_count,
            grant->heartbeat_interval_ms,
            grant->grace_ms};
  if (!descriptors_follow) return finish_grant({}, now_ms);
  state_ = State::kDescriptors;
  deadline_ms_ = now_ms + options_.reply_limit_ms;
  return {};
}

RequesterActions RequesterSession::on_pending(std::uint64_t now_ms) {
  constexpr std::uint64_t kLeastMs = kPendingIntervalsGranted * kPendingIntervalMs;
  unanswered_.front().deadline_ms = now_ms + std::max(options_.reply_limit_ms, kLeastMs);
  return one(AnswerPending{});
}

RequesterActions RequesterSession::on_lease_wait(std::span<const std::byte> body,
                                                 std::uint64_t now_ms) {
  const auto wait = decode_lease_wait(body);
  if (!wait) {
    return on_malformed(wait.error());
  }
  unanswered_.pop_front();
  state_ = State::kLeaseWaiting;
  deadline_ms_ = now_ms + wait->retry_ms;
  return one(LeaseDelayed{wait->reclaiming_bytes, wait->retry_ms});
}

RequesterActions RequesterSession::on_region_fds(std::span<const std::byte> body,
                                                 std::size_t descriptor_count,
                                                 std::uint64_t now_ms) {
  const auto fds = decode_region_fds(body);
  if (!fds) {
    return on_malformed(fds.error());
  }
  if (fds->first_index != descriptor_regions_ ||
      fds->count > terms_.region_count - descriptor_regions_) {
    return on_malformed(
        {ErrorCode::kProtocol,
         fmt::format("REGION_FDS has {} regions from index {}, but {} of {} have come", fds->count,
                     fds->first_index, descriptor_regions_, terms_.region_count)});
  }
  if (descriptor_count != fds->count) {
    return on_malformed(
        {ErrorCode::kProtocol, fmt::format("REGION_FDS count is {}, but {} descriptors came",
                                           fds->count, descriptor_count)});
  }
  descriptor_regions_ += fds->count;
  deadline_ms_ = now_ms + options_.reply_limit_ms;
  RequesterActions actions = one(TakeDescriptors{fds->first_index, fds->count});
  if (descriptor_regions_ < terms_.region_count) return actions;
  return finish_grant(std::move(actions), now_ms);
}

RequesterActions RequesterSession::finish_grant(RequesterActions actions, std::uint64_t now_ms) {
  confirm_lease();
  unanswered_.pop_front();
  enter_leased(now_ms);
  actions.emplace_back(LeaseReady{terms_});
  return actions;
}

RequesterActions RequesterSession::on_attached(std::span<const std::byte> body,
                                               std::uint64_t now_ms) {
  const auto attached = decode_attached(body);
  if (!attached) {
    return on_malformed(attached.error());
  }
  const auto& goal = std::get<JoinLease>(options_.goal);
  terms_ = goal.terms;
  if (attached->region_bytes != terms_.region_bytes ||
      attached->region_count != terms_.region_count) {
    return on_malformed({ErrorCode::kProtocol,
                         fmt::format("ATTACHED has {} regions of {} bytes, the lease has {} of {}",
                                     attached->region_count, attached->region_bytes,
                                     terms_.region_count, terms_.region_bytes)});
  }
  const bool regions_follow = (attached->flags & kAttachedRegions) != 0;
  if (regions_follow != goal.wants_regions) {
    return on_malformed({ErrorCode::kProtocol,
                         fmt::format("ATTACHED flags is {}, but this connection {} regions",
                                     attached->flags, goal.wants_regions ? "needs" : "takes no")});
  }
  terms_.heartbeat_interval_ms = attached->heartbeat_interval_ms;
  terms_.grace_ms = attached->grace_ms;
  if (!regions_follow) return finish_attach(now_ms);
  state_ = State::kRegions;
  deadline_ms_ = now_ms + options_.reply_limit_ms;
  return {};
}

RequesterActions RequesterSession::on_regions(std::span<const std::byte> body,
                                              std::uint64_t now_ms) {
  const auto decoded = decode_regions(body);
  if (!decoded) {
    return on_malformed(decoded.error());
  }
  if (decoded->first_index != regions_.size() ||
      decoded->regions.size() > terms_.region_count - regions_.size()) {
    return on_malformed({ErrorCode::kProtocol,
                         fmt::format("REGIONS has {} regions from index {}, but {} of {} are known",
                                     decoded->regions.size(), decoded->first_index, regions_.size(),
                                     terms_.region_count)});
  }
  for (const RegionEntry& region : decoded->regions) {
    if (region.length != terms_.region_bytes) {
      return on_malformed(
          {ErrorCode::kProtocol, fmt::format("REGIONS length is {}, ATTACHED region_bytes {}",
                                             region.length, terms_.region_bytes)});
    }
  }
  regions_.insert(regions_.end(), decoded->regions.begin(), decoded->regions.end());
  deadline_ms_ = now_ms + options_.reply_limit_ms;
  if (regions_.size() < terms_.region_count) return {};
  return finish_attach(now_ms);
}

RequesterActions RequesterSession::finish_attach(std::uint64_t now_ms) {
  confirm_lease();
  unanswered_.pop_front();
  if (options_.role == Role::kControl) {
    enter_leased(now_ms);
  } else {
    state_ = State::kAttached;
  }
  return one(LeaseJoined{terms_, std::move(regions_)});
}

RequesterActions RequesterSession::on_stats_reply(std::span<const std::byte> body) {
  const auto stats = decode_stats_reply(body);
  if (!stats) {
    return on_malformed(stats.error());
  }
  unanswered_.pop_front();
  return one(StatsArrived{*stats});
}

RequesterActions RequesterSession::on_error(std::span<const std::byte> body) {
  const auto error = decode_error(body);
  if (!error) {
    // ERROR is never answered, not even a bad one.
    return close_with(ErrorCode::kProtocol, error.error().message, false);
  }
  return close_with(
      error_code_of(error->code),
      fmt::format("the provider says: {} ({})", error->text, wire_error_name(error->code)), false);
}

RequesterActions RequesterSession::on_malformed(const Error& error) {
  return fail_with(WireError::kProtocol, ErrorCode::kProtocol, error.message);
}

RequesterActions RequesterSession::on_closed() {
  return close_with(ErrorCode::kDisconnected,
                    fmt::format("the connection ended in state {}", state_name()), false);
}

// ---- time ----

std::uint64_t RequesterSession::next_deadline_ms() const {
  switch (state_) {
    case State::kStart:
    case State::kClosed:
    case State::kAttached:
      return kNever;
    case State::kAuth:
    case State::kDescriptors:
    case State::kRegions:
    case State::kLeaseWaiting:
      return deadline_ms_;
    default:
      break;
  }
  const std::uint64_t reply_ms = unanswered_.empty() ? kNever : unanswered_.front().deadline_ms;
  return state_ == State::kLeased ? std::min(reply_ms, next_heartbeat_ms_) : reply_ms;
}

RequesterActions RequesterSession::on_tick(std::uint64_t now_ms) {
  if (now_ms < next_deadline_ms()) {
    return {};
  }
  if (state_ == State::kLeaseWaiting) {
    return send_lease_request(now_ms);
  }
  const bool reply_is_late = !unanswered_.empty() && now_ms >= unanswered_.front().deadline_ms;
  if (state_ == State::kLeased && !reply_is_late) {
    return heartbeat(now_ms);
  }
  return fail_with(WireError::kTimedOut, ErrorCode::kTimedOut,
                   fmt::format("no answer from the provider in state {}", state_name()));
}

RequesterActions RequesterSession::heartbeat(std::uint64_t now_ms) {
  next_heartbeat_ms_ = now_ms + terms_.heartbeat_interval_ms;
  return one(SendFrame{ask(encode_empty(FrameType::kHeartbeat, next_tag_), FrameType::kHeartbeat,
                           now_ms, silence_limit_ms())});
}

// ---- what the requester decides ----

RequesterActions RequesterSession::release(std::uint64_t now_ms) {
  if (state_ == State::kReleaseSent) {
    return {};
  }
  if (state_ != State::kLeased) {
    return close_with(ErrorCode::kCancelled, "the requester ended the session", true);
  }
  state_ = State::kReleaseSent;
  return one(SendFrame{ask(encode_empty(FrameType::kRelease, next_tag_), FrameType::kRelease,
                           now_ms, options_.reply_limit_ms)});
}

RequesterActions RequesterSession::request_stats(std::uint64_t now_ms) {
  const bool allowed = state_ == State::kReady || state_ == State::kLeased;
  const bool open = std::ranges::find(unanswered_, FrameType::kStatsRequest, &Unanswered::type) !=
                    unanswered_.end();
  if (!allowed || open) {
    return {};
  }
  return one(SendFrame{ask(encode_empty(FrameType::kStatsRequest, next_tag_),
                           FrameType::kStatsRequest, now_ms, options_.reply_limit_ms)});
}

// ---- private ----

void RequesterSession::enter_leased(std::uint64_t now_ms) {
  state_ = State::kLeased;
  next_heartbeat_ms_ = now_ms + terms_.heartbeat_interval_ms;
}

std::uint64_t RequesterSession::silence_limit_ms() const {
  return std::uint64_t{kMissedHeartbeats} * terms_.heartbeat_interval_ms;
}

// The oldest question is answered: the provider heard from us no earlier than it was asked.
void RequesterSession::confirm_lease() {
  lease_valid_until_ms_ = unanswered_.front().asked_ms + silence_limit_ms() + terms_.grace_ms;
}

// Notes that `frame`, made with next_tag_, is waiting for its answer.
FrameBytes RequesterSession::ask(FrameBytes frame, FrameType type, std::uint64_t now_ms,
                                 std::uint64_t limit_ms) {
  unanswered_.push_back({type, next_tag_, now_ms, now_ms + limit_ms});
  ++next_tag_;
  return frame;
}

// Tells the provider, then closes. `own_code` is what it means on this side.
RequesterActions RequesterSession::fail_with(WireError code, ErrorCode own_code,
                                             std::string_view text) {
  if (state_ == State::kClosed) {
    return {};
  }
  // Between its last AUTH frame and the provider's a requester with records has nothing to say: the
  // provider may expect records already.
  if (state_ == State::kAuth && options_.wants_records) {
    return close_with(own_code, text, false);
  }
  RequesterActions actions = one(SendFrame{encode_error(code, text)});
  append(actions, close_with(own_code, text, false));
  return actions;
}

RequesterActions RequesterSession::close_with(ErrorCode code, std::string_view text, bool orderly) {
  if (state_ == State::kClosed) {
    return {};
  }
  state_ = State::kClosed;
  handshake_.reset();
  return one(CloseConnection{{code, fmt::format("provider {}: {}", options_.provider_text, text)},
                             orderly});
}

}  // namespace rram
