#include "rdma/session/provider_session.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

#include "tests/unit/wire/session_helpers.h"

namespace rram::test {
namespace {

using State = ProviderSession::State;

ProviderSessionOptions make_options() {
  ProviderSessionOptions options;
  options.provider_name = "host-b";
  options.incarnation = kIncarnation;
  options.pool_bytes = 64 * kSegmentBytes;
  options.free_bytes = 60 * kSegmentBytes;
  options.segment_bytes = kSegmentBytes;
  return options;
}

ProviderActions feed(ProviderSession& session, const FrameReader::Frame& frame,
                     std::uint64_t now_ms = 10) {
  return session.on_frame(frame.header, frame.body, 0, now_ms);
}

Attach make_attach(Role role) { return {kLeaseId, kToken, role == Role::kData ? 5U : 0U}; }

ProviderActions feed(ProviderSession& session, FrameType type, std::uint64_t now_ms = 10) {
  const bool is_lane = type == FrameType::kAttach && session.role() == Role::kData;
  return feed(session, is_lane ? to_frame(encode(1, make_attach(Role::kData))) : valid_frame(type),
              now_ms);
}

// A session of `role` brought to `state` by the shortest way.
ProviderSession session_in(State state, Role role = Role::kControl) {
  ProviderSessionOptions options = make_options();
  if (state == State::kAuth) {
    options.key = test_key(1);
  }
  ProviderSession session(options, 0);
  if (state == State::kHello) {
    return session;
  }
  feed(session, to_frame(encode(1, make_hello(role))));
  if (state == State::kAuth || state == State::kReady) {
    return session;
  }
  if (state == State::kClosed) {
    session.on_closed();
    return session;
  }
  if (state == State::kAttaching || state == State::kAttached) {
    feed(session, FrameType::kAttach);
    if (state == State::kAttached) {
      session.attached(make_terms(), {}, 10);
    }
    return session;
  }
  feed(session, FrameType::kLeaseRequest);
  if (state == State::kGranting) {
    return session;
  }
  session.grant(make_terms(), 10);
  if (state == State::kReleasing) {
    feed(session, FrameType::kRelease);
  }
  return session;
}

void expect_refused(const ProviderActions& actions, WireError code, std::string_view part) {
  const auto error = sent_error(actions);
  ASSERT_TRUE(error.has_value()) << part;
  EXPECT_EQ(error->code, code) << error->text;
  EXPECT_NE(error->text.find(part), std::string::npos) << error->text;
  ASSERT_NE(find_action<CloseConnection>(actions), nullptr);
  EXPECT_FALSE(find_action<CloseConnection>(actions)->orderly);
  EXPECT_TRUE(std::holds_alternative<CloseConnection>(actions.back()));
}

struct Row {
  State state;
  Role role;
  std::set<FrameType> accepts;
};

// The table "Provider: what is accepted in which state" of docs/protocol.md.
std::vector<Row> table() {
  using enum FrameType;
  return {
      {State::kHello, Role::kControl, {kHello}},
      {State::kAuth, Role::kControl, {kAuth}},
      {State::kReady, Role::kControl, {kLeaseRequest, kAttach, kStatsRequest}},
      {State::kReady, Role::kData, {kAttach}},
      {State::kGranting, Role::kControl, {}},
      {State::kAttaching, Role::kControl, {}},
      {State::kAttaching, Role::kData, {}},
      {State::kLeased, Role::kControl, {kHeartbeat, kStatsRequest, kRelease}},
      {State::kReleasing, Role::kControl, {}},
      {State::kAttached, Role::kData, {}},
  };
}

TEST(ProviderSession, every_state_accepts_exactly_the_frames_of_its_row) {
  for (const Row& row : table()) {
    for (FrameType type : kAllTypes) {
      ProviderSession session = session_in(row.state, row.role);
      ASSERT_EQ(session.state(), row.state);
      const std::string where = std::string(session.state_name()) + " " + frame_type_name(type);
      const bool accepted = row.accepts.contains(type);
      EXPECT_EQ(session.accepted().contains(type), accepted || type == FrameType::kError) << where;
      const auto actions = feed(session, type);
      if (type == FrameType::kError) {
        EXPECT_EQ(actions.size(), 1U) << where;
        EXPECT_NE(find_action<CloseConnection>(actions), nullptr) << where;
      } else if (!accepted) {
        expect_refused(actions, WireError::kProtocol, frame_type_name(type) + " is not allowed");
        EXPECT_EQ(session.state(), State::kClosed) << where;
      } else if (type != FrameType::kAuth) {  // eight zeros are no handshake
        EXPECT_FALSE(sent_error(actions).has_value()) << where;
        EXPECT_NE(session.state(), State::kClosed) << where;
      }
    }
  }
}

TEST(ProviderSession, closed_answers_nothing) {
  for (FrameType type : kAllTypes) {
    ProviderSession session = session_in(State::kClosed);
    EXPECT_FALSE(session.accepted().contains(type));
    EXPECT_TRUE(feed(session, type).empty());
  }
  ProviderSession session = session_in(State::kClosed);
  EXPECT_TRUE(session.on_closed().empty());
  EXPECT_TRUE(session.on_tick(1'000'000).empty());
  EXPECT_TRUE(session.end(WireError::kShuttingDown, "x").empty());
  EXPECT_TRUE(session.grant(make_terms(), 1).empty());
  EXPECT_TRUE(session.wait(1, 1, 1).empty());
  EXPECT_TRUE(session.attached(make_terms(), {}, 1).empty());
  EXPECT_TRUE(session.stats(1, {}).empty());
  EXPECT_TRUE(session.released().empty());
  EXPECT_EQ(session.next_deadline_ms(), UINT64_MAX);
}

TEST(ProviderSession, a_malformed_body_ends_it_with_the_field_in_the_text) {
  const auto spoiled = [](State state, FrameType type, std::size_t byte, std::string_view part) {
    ProviderSession session = session_in(state);
    FrameReader::Frame frame = valid_frame(type);
    frame.body.at(byte) = std::byte{0xEE};
    expect_refused(feed(session, frame), WireError::kProtocol, part);
  };
  spoiled(State::kHello, FrameType::kHello, 0, "HELLO magic");
  spoiled(State::kReady, FrameType::kLeaseRequest, 8, "LEASE_REQUEST has unknown flags");
  ProviderSession session = session_in(State::kReady);
  expect_refused(feed(session, to_frame(encode(1, Attach{}))), WireError::kProtocol, "ATTACH");
}

TEST(ProviderSession, hello_is_answered_with_what_the_provider_is) {
  ProviderSession session(make_options(), 0);
  const auto actions = feed(session, to_frame(encode(77, make_hello())));
  ASSERT_EQ(sent_names(actions), "HELLO_REPLY");
  const auto frame = sent_frames(actions).front();
  EXPECT_EQ(frame.header.tag, 77U);
  const auto reply = decode_hello_reply(frame.body);
  ASSERT_TRUE(reply.has_value()) << reply.error().message;
  EXPECT_EQ(reply->version, kWireVersionMax);
  EXPECT_EQ(reply->incarnation, kIncarnation);
  EXPECT_EQ(reply->auth_required, 0);
  EXPECT_EQ(reply->features, 0U);
  EXPECT_EQ(reply->free_bytes, 60 * kSegmentBytes);
  EXPECT_EQ(name_view(reply->name), "host-b");
  EXPECT_EQ(session.requester_name(), "host-a:/mnt/r");
  EXPECT_EQ(session.role(), Role::kControl);
}

TEST(ProviderSession, features_are_those_of_both) {
  for (const bool can_pass : {false, true}) {
    for (const std::uint64_t asked : {0ULL, 1ULL, ~0ULL}) {
      ProviderSessionOptions options = make_options();
      options.can_pass_descriptors = can_pass;
      ProviderSession session(options, 0);
      Hello hello = make_hello();
      hello.features = asked;
      const auto frames = sent_frames(feed(session, to_frame(encode(1, hello))));
      EXPECT_EQ(decode_hello_reply(frames.at(0).body)->features,
                can_pass ? asked & kFeatureDescriptors : 0);
    }
  }
}

TEST(ProviderSession, a_version_nobody_speaks_is_refused_with_both_ranges) {
  ProviderSession session(make_options(), 0);
  Hello hello = make_hello();
  hello.version_min = 2;
  hello.version_max = 3;
  const auto actions = feed(session, to_frame(encode(1, hello)));
  expect_refused(actions, WireError::kVersion, "requester speaks 2 to 3, this provider 1 to 1");
  EXPECT_EQ(find_action<CloseConnection>(actions)->reason.code, ErrorCode::kRefused);
}

TEST(ProviderSession, garbage_instead_of_a_proof_is_refused) {
  ProviderSession session = session_in(State::kAuth);
  const auto actions = feed(session, FrameType::kAuth);
  expect_refused(actions, WireError::kAuthentication, "same key file");
  EXPECT_EQ(find_action<CloseConnection>(actions)->reason.code, ErrorCode::kRefused);
}

TEST(ProviderSession, a_proof_that_never_ends_is_refused) {
  ProviderSession session = session_in(State::kAuth);
  // The beginning of a TLS record that says it is longer.
  for (const int byte : {0x16, 0x03, 0x01, 0x00, 0xff, 0x01, 0x00, 0x00}) {
    const std::byte piece{static_cast<std::uint8_t>(byte)};
    feed(session, to_frame(encode_frame(FrameType::kAuth, 0, {&piece, 1})));
    ASSERT_EQ(session.state(), State::kAuth);
  }
  const std::byte more{0xfb};
  expect_refused(feed(session, to_frame(encode_frame(FrameType::kAuth, 0, {&more, 1}))),
                 WireError::kProtocol, "more than 8 AUTH frames");
}

TEST(ProviderSession, a_proof_with_a_tag_is_refused) {
  ProviderSession session = session_in(State::kAuth);
  expect_refused(
      feed(session, to_frame(encode_frame(FrameType::kAuth, 7, std::array<std::byte, 8>{}))),
      WireError::kProtocol, "AUTH has tag 7");
}

TEST(ProviderSession, a_lease_is_asked_of_the_pool_and_granted) {
  ProviderSession session = session_in(State::kReady);
  const auto asked = feed(session, to_frame(encode(5, LeaseRequest{123, 0, 0})));
  ASSERT_NE(find_action<WantLease>(asked), nullptr);
  EXPECT_EQ(find_action<WantLease>(asked)->wanted_bytes, 123U);
  EXPECT_FALSE(find_action<WantLease>(asked)->descriptors);
  const auto granted = session.grant(make_terms(), 20);
  EXPECT_EQ(sent_names(granted), "LEASE_GRANT");
  for (const auto& frame : sent_frames(granted)) {
    EXPECT_EQ(frame.header.tag, 5U);
  }
  EXPECT_EQ(session.state(), State::kLeased);
  EXPECT_EQ(session.lease_id(), kLeaseId);
  EXPECT_FALSE(session.data_allowed());
}

TEST(ProviderSession, a_large_lease_is_granted_in_batches) {
  ProviderSessionOptions options = make_options();
  options.can_pass_descriptors = true;
  ProviderSession session(options, 0);
  Hello hello = make_hello();
  hello.features = kFeatureDescriptors;
  feed(session, to_frame(encode(1, hello)));
  const LeaseRequest request{0, kLeaseWantDescriptors, 0};
  const auto asked = feed(session, to_frame(encode(2, request)));
  EXPECT_TRUE(find_action<WantLease>(asked)->descriptors);
  const std::uint32_t count = kMaxRegionsPerFrame + 1;
  const auto granted = session.grant(make_terms(count), 20);
  std::uint32_t described = 0;
  for (const auto& action : granted) {
    if (const auto* fds = std::get_if<SendDescriptors>(&action)) {
      EXPECT_EQ(fds->first_region, described);
      EXPECT_LE(fds->count, kMaxDescriptorsPerFrame);
      described += fds->count;
    }
  }
  EXPECT_EQ(described, count);
  const auto frames = sent_frames(granted);
  EXPECT_EQ(frames.size(), 1U + 33U);
}

TEST(ProviderSession, descriptors_without_the_feature_are_refused) {
  ProviderSession session = session_in(State::kReady);
  const LeaseRequest request{0, kLeaseWantDescriptors, 0};
  expect_refused(feed(session, to_frame(encode(2, request))), WireError::kProtocol, "descriptors");
}

TEST(ProviderSession, descriptors_from_a_requester_are_refused) {
  ProviderSession session = session_in(State::kLeased);
  const auto frame = valid_frame(FrameType::kHeartbeat);
  expect_refused(session.on_frame(frame.header, frame.body, 1, 10), WireError::kProtocol,
                 "1 descriptors");
}

TEST(ProviderSession, a_lease_that_must_wait_can_be_asked_for_again) {
  ProviderSession session = session_in(State::kGranting);
  const auto actions = session.wait(5 * kSegmentBytes, 300, 100);
  ASSERT_EQ(sent_names(actions), "LEASE_WAIT");
  EXPECT_EQ(decode_lease_wait(sent_frames(actions)[0].body)->retry_ms, 300U);
  EXPECT_EQ(session.state(), State::kReady);
  EXPECT_NE(find_action<WantLease>(feed(session, FrameType::kLeaseRequest)), nullptr);
}

TEST(ProviderSession, a_lease_that_does_not_fit_ends_it) {
  ProviderSession session = session_in(State::kGranting);
  const auto actions = session.end(WireError::kNoSpace, "14 GiB wanted, 2 GiB free");
  expect_refused(actions, WireError::kNoSpace, "14 GiB wanted, 2 GiB free");
  EXPECT_FALSE(session.lease_id().has_value());
  EXPECT_NE(find_action<CloseConnection>(actions)->reason.message.find("host-a:/mnt/r"),
            std::string::npos);
}

TEST(ProviderSession, attach_makes_a_lane_or_takes_the_lease_over) {
  for (const Role role : {Role::kData, Role::kControl}) {
    ProviderSession session = session_in(State::kReady, role);
    const auto asked = feed(session, to_frame(encode(9, make_attach(role))));
    const auto* want = find_action<WantAttach>(asked);
    ASSERT_NE(want, nullptr);
    EXPECT_EQ(want->role, role);
    EXPECT_EQ(want->lease_id, kLeaseId);
    EXPECT_EQ(want->token, kToken);
    EXPECT_EQ(want->lane, make_attach(role).lane);
    EXPECT_FALSE(session.data_allowed());
    const auto actions = session.attached(make_terms(), {}, 20);
    EXPECT_EQ(sent_names(actions), "ATTACHED");
    EXPECT_EQ(sent_frames(actions)[0].header.tag, 9U);
    EXPECT_EQ(session.data_allowed(), role == Role::kData);
    EXPECT_EQ(session.state(), role == Role::kData ? State::kAttached : State::kLeased);
    EXPECT_EQ(session.lease_id(), kLeaseId);
  }
}

TEST(ProviderSession, a_lane_has_a_number_and_a_control_connection_has_none) {
  for (const Role role : {Role::kData, Role::kControl}) {
    ProviderSession session = session_in(State::kReady, role);
    const Role other = role == Role::kData ? Role::kControl : Role::kData;
    expect_refused(feed(session, to_frame(encode(9, make_attach(other)))), WireError::kProtocol,
                   "ATTACH lane is");
  }
}

TEST(ProviderSession, a_lane_is_told_the_names_of_its_regions_in_batches) {
  ProviderSession session = session_in(State::kAttaching, Role::kData);
  const std::uint32_t count = kMaxRegionsPerFrame + 1;
  const auto actions = session.attached(make_terms(count), make_regions(count), 20);
  EXPECT_EQ(sent_names(actions), "ATTACHED REGIONS REGIONS");
  const auto frames = sent_frames(actions);
  EXPECT_EQ(decode_attached(frames.at(0).body)->flags, kAttachedRegions);
  EXPECT_EQ(decode_regions(frames.at(2).body)->first_index, kMaxRegionsPerFrame);
}

TEST(ProviderSession, an_answer_that_takes_time_is_announced_again_and_again) {
  for (const State state : {State::kGranting, State::kAttaching}) {
    ProviderSession session = session_in(state);
    for (int i = 0; i < 100; ++i) {
      const std::uint64_t due_ms = session.next_deadline_ms();
      EXPECT_TRUE(session.on_tick(due_ms - 1).empty());
      EXPECT_EQ(sent_names(session.on_tick(due_ms)), "PENDING");
      EXPECT_GT(session.next_deadline_ms(), due_ms);
    }
    EXPECT_EQ(session.state(), state);
  }
}

TEST(ProviderSession, a_refused_attach_leaves_no_lease_behind) {
  ProviderSession session = session_in(State::kAttaching, Role::kData);
  expect_refused(session.end(WireError::kNoLease, "no such lease"), WireError::kNoLease, "lease");
  EXPECT_FALSE(session.lease_id().has_value());
}

TEST(ProviderSession, heartbeat_and_stats_are_answered_with_their_tags) {
  ProviderSession session = session_in(State::kLeased);
  const auto beat = feed(session, to_frame(encode_empty(FrameType::kHeartbeat, 41)));
  EXPECT_EQ(sent_names(beat), "HEARTBEAT_REPLY");
  EXPECT_EQ(sent_frames(beat)[0].header.tag, 41U);
  const auto want = feed(session, to_frame(encode_empty(FrameType::kStatsRequest, 42)));
  ASSERT_NE(find_action<WantStats>(want), nullptr);
  const auto stats = session.stats(find_action<WantStats>(want)->tag, StatsReply{1, 2, 3});
  EXPECT_EQ(sent_frames(stats)[0].header.tag, 42U);
  EXPECT_EQ(decode_stats_reply(sent_frames(stats)[0].body)->leased_bytes, 2U);
}

TEST(ProviderSession, release_ends_in_order) {
  ProviderSession session = session_in(State::kLeased);
  EXPECT_NE(find_action<WantRelease>(feed(session, FrameType::kRelease)), nullptr);
  const auto actions = session.released();
  EXPECT_EQ(sent_names(actions), "RELEASED");
  ASSERT_NE(find_action<CloseConnection>(actions), nullptr);
  EXPECT_TRUE(find_action<CloseConnection>(actions)->orderly);
  EXPECT_FALSE(session.lease_id().has_value());
}

TEST(ProviderSession, a_cut_keeps_the_lease_for_the_grace_time) {
  ProviderSession session = session_in(State::kLeased);
  const auto actions = session.on_closed();
  ASSERT_EQ(actions.size(), 1U);
  EXPECT_FALSE(find_action<CloseConnection>(actions)->orderly);
  EXPECT_EQ(find_action<CloseConnection>(actions)->reason.code, ErrorCode::kDisconnected);
  EXPECT_EQ(session.lease_id(), kLeaseId);
}

TEST(ProviderSession, silence_ends_every_state_that_waits_for_the_requester) {
  struct Case {
    State state;
    Role role;
    std::uint64_t limit_ms;
  };
  for (const Case& c :
       {Case{State::kHello, Role::kControl, 5'000}, Case{State::kAuth, Role::kControl, 5'000},
        Case{State::kReady, Role::kData, 5'000}, Case{State::kReady, Role::kControl, 60'010},
        Case{State::kLeased, Role::kControl, 5'010}}) {
    ProviderSession session = session_in(c.state, c.role);
    EXPECT_EQ(session.next_deadline_ms(), c.limit_ms) << session.state_name();
    EXPECT_TRUE(session.on_tick(c.limit_ms - 1).empty());
    expect_refused(session.on_tick(c.limit_ms), WireError::kTimedOut, "nothing came for");
  }
  ProviderSession releasing = session_in(State::kReleasing);
  EXPECT_TRUE(releasing.on_tick(UINT64_MAX - 1).empty());
  ProviderSession lane = session_in(State::kAttached, Role::kData);
  EXPECT_TRUE(lane.on_tick(UINT64_MAX - 1).empty());
}

TEST(ProviderSession, heartbeats_keep_a_lease_alive) {
  ProviderSession session = session_in(State::kLeased);
  for (std::uint64_t now_ms = 1'000; now_ms < 60'000; now_ms += 1'000) {
    EXPECT_TRUE(session.on_tick(now_ms).empty());
    feed(session, FrameType::kHeartbeat, now_ms);
  }
  EXPECT_EQ(session.state(), State::kLeased);
}

TEST(ProviderSession, an_error_from_the_requester_is_not_answered) {
  ProviderSession session = session_in(State::kLeased);
  FrameReader::Frame frame = valid_frame(FrameType::kError);
  auto actions = feed(session, frame);
  ASSERT_EQ(actions.size(), 1U);
  EXPECT_NE(find_action<CloseConnection>(actions)->reason.message.find("bye (SHUTTING_DOWN)"),
            std::string::npos);
  ProviderSession other = session_in(State::kLeased);
  frame.body[4] = std::byte{99};
  actions = feed(other, frame);
  ASSERT_EQ(actions.size(), 1U);
  EXPECT_EQ(find_action<CloseConnection>(actions)->reason.code, ErrorCode::kProtocol);
}

}  // namespace
}  // namespace rram::test
