#include "rdma/session/requester_session.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/unit/wire/session_helpers.h"

namespace rram::test {
namespace {

using State = RequesterSession::State;

RequesterSessionOptions make_options(Role role = Role::kControl) {
  RequesterSessionOptions options;
  options.requester_name = "host-a:/mnt/r";
  options.provider_text = "tcp://10.0.0.2:7470";
  options.role = role;
  if (role == Role::kData) {
    options.goal = JoinLease{make_terms(), kIncarnation, 5};
  }
  return options;
}

RequesterActions feed(RequesterSession& session, const FrameReader::Frame& frame,
                      std::uint64_t now_ms = 10, std::size_t descriptor_count = 0) {
  return session.on_frame(frame.header, frame.body, descriptor_count, now_ms);
}

// HELLO has tag 1 and the request after it tag 2.
RequesterActions feed(RequesterSession& session, FrameType type, std::uint64_t tag = 2,
                      std::uint64_t now_ms = 10) {
  return feed(session, valid_frame(type, tag), now_ms);
}

RequesterActions feed_hello_reply(RequesterSession& session, bool auth_required = false,
                                  std::uint64_t features = 0) {
  HelloReply reply = make_hello_reply();
  reply.auth_required = auth_required ? 1 : 0;
  reply.features = features;
  return feed(session, to_frame(encode(1, reply)));
}

LeaseGrant make_grant_with_descriptors(const LeaseTerms& terms = make_terms()) {
  LeaseGrant grant = make_grant(terms);
  grant.flags = kGrantDescriptors;
  return grant;
}

Attached make_attached_with_regions() {
  Attached attached = make_attached();
  attached.flags = kAttachedRegions;
  return attached;
}

// A session brought to `state` by the shortest way.
RequesterSession session_in(State state) {
  RequesterSessionOptions options =
      make_options(state == State::kAttached ? Role::kData : Role::kControl);
  if (state == State::kAttachSent) {
    options.goal = JoinLease{make_terms(), kIncarnation};
  }
  if (state == State::kRegions) {
    options.role = Role::kData;
    options.goal = JoinLease{make_terms(), kIncarnation, 5, true};
  }
  const bool takes_descriptors = state == State::kDescriptors;
  if (takes_descriptors) {
    options.can_take_descriptors = true;
    options.goal = TakeLease{0, true};
  }
  if (state == State::kReady) {
    options.goal = ReadStats{};
  }
  if (state == State::kAuth) {
    options.key = test_key(1);
  }
  RequesterSession session(options);
  if (state == State::kStart) {
    return session;
  }
  session.start(0);
  if (state == State::kHelloSent) {
    return session;
  }
  feed_hello_reply(session, state == State::kAuth, takes_descriptors ? kFeatureDescriptors : 0);
  if (state == State::kClosed) {
    session.on_closed();
  }
  if (state == State::kAttached) {
    feed(session, FrameType::kAttached);
  }
  if (state == State::kLeaseWaiting) {
    feed(session, FrameType::kLeaseWait);
  }
  if (state == State::kLeased || state == State::kReleaseSent) {
    feed(session, FrameType::kLeaseGrant);
  }
  if (takes_descriptors) {
    feed(session, to_frame(encode(2, make_grant_with_descriptors())));
  }
  if (state == State::kRegions) {
    feed(session, to_frame(encode(2, make_attached_with_regions())));
  }
  if (state == State::kReleaseSent) {
    session.release(10);
  }
  return session;
}

CloseConnection closed(const RequesterActions& actions) {
  const auto* close = find_action<CloseConnection>(actions);
  return close == nullptr ? CloseConnection{{ErrorCode::kIo, "not closed"}, false} : *close;
}

void expect_refused(const RequesterActions& actions, ErrorCode code, std::string_view part) {
  ASSERT_TRUE(sent_error(actions).has_value()) << part;
  EXPECT_NE(sent_error(actions)->text.find(part), std::string::npos) << sent_error(actions)->text;
  EXPECT_EQ(closed(actions).reason.code, code) << closed(actions).reason.message;
  EXPECT_EQ(closed(actions).reason.message.find("provider tcp://10.0.0.2:7470: "), 0U);
  EXPECT_FALSE(closed(actions).orderly);
}

struct Row {
  State state;
  std::set<FrameType> accepts;
};

// The table "Requester: what is accepted in which state" of docs/protocol.md.
std::vector<Row> table() {
  using enum FrameType;
  return {
      {State::kHelloSent, {kHelloReply}},
      {State::kAuth, {kAuth}},
      {State::kReady, {kStatsReply}},
      {State::kLeaseSent, {kLeaseGrant, kLeaseWait, kPending}},
      {State::kLeaseWaiting, {}},
      {State::kDescriptors, {kRegionFds}},
      {State::kAttachSent, {FrameType::kAttached, kPending}},
      {State::kRegions, {FrameType::kRegions}},
      {State::kLeased, {kHeartbeatReply, kStatsReply}},
      {State::kReleaseSent, {kHeartbeatReply, kStatsReply, kReleased}},
      {State::kAttached, {}},
  };
}

TEST(RequesterSession, every_state_accepts_exactly_the_frames_of_its_row) {
  for (const Row& row : table()) {
    for (FrameType type : kAllTypes) {
      RequesterSession session = session_in(row.state);
      ASSERT_EQ(session.state(), row.state) << session.state_name();
      const std::string where = std::string(session.state_name()) + " " + frame_type_name(type);
      const bool accepted = row.accepts.contains(type);
      EXPECT_EQ(session.accepted().contains(type), accepted || type == FrameType::kError) << where;
      if (accepted) {
        continue;  // the tests below
      }
      const auto actions = feed(session, type);
      if (type == FrameType::kError) {
        EXPECT_EQ(actions.size(), 1U) << where;
        EXPECT_EQ(closed(actions).reason.code, ErrorCode::kDisconnected) << where;
      } else {
        expect_refused(actions, ErrorCode::kProtocol, frame_type_name(type) + " is not allowed");
      }
      EXPECT_EQ(session.state(), State::kClosed) << where;
    }
  }
}

TEST(RequesterSession, closed_answers_nothing) {
  for (FrameType type : kAllTypes) {
    RequesterSession session = session_in(State::kClosed);
    EXPECT_FALSE(session.accepted().contains(type));
    EXPECT_TRUE(feed(session, type).empty());
  }
  RequesterSession session = session_in(State::kClosed);
  EXPECT_TRUE(session.on_closed().empty());
  EXPECT_TRUE(session.on_tick(1'000'000).empty());
  EXPECT_TRUE(session.release(1).empty());
  EXPECT_TRUE(session.request_stats(1).empty());
  EXPECT_EQ(session.next_deadline_ms(), UINT64_MAX);
}

TEST(RequesterSession, a_connection_that_ended_before_it_began_is_closed) {
  RequesterSession session = session_in(State::kStart);
  EXPECT_EQ(closed(session.on_closed()).reason.code, ErrorCode::kDisconnected);
  EXPECT_TRUE(session.start(0).empty());
}

TEST(RequesterSession, says_hello_and_asks_for_its_lease) {
  RequesterSessionOptions options = make_options();
  options.goal = TakeLease{5 * kSegmentBytes, false};
  RequesterSession session(options);
  const auto first = session.start(0);
  ASSERT_EQ(sent_names(first), "HELLO");
  const auto hello = decode_hello(sent_frames(first)[0].body);
  ASSERT_TRUE(hello.has_value()) << hello.error().message;
  EXPECT_EQ(name_view(hello->name), "host-a:/mnt/r");
  EXPECT_EQ(hello->role, Role::kControl);
  const auto second = feed_hello_reply(session);
  ASSERT_EQ(sent_names(second), "LEASE_REQUEST");
  EXPECT_EQ(sent_frames(second)[0].header.tag, 2U);
  EXPECT_EQ(decode_lease_request(sent_frames(second)[0].body)->wanted_bytes, 5 * kSegmentBytes);
  EXPECT_EQ(name_view(session.hello_reply()->name), "host-b");
}

TEST(RequesterSession, a_grant_is_ready_at_once) {
  RequesterSession session = session_in(State::kLeaseSent);
  const auto actions = feed(session, FrameType::kLeaseGrant);
  const auto* ready = find_action<LeaseReady>(actions);
  ASSERT_NE(ready, nullptr);
  EXPECT_EQ(ready->terms, make_terms());
  EXPECT_EQ(session.state(), State::kLeased);
}

TEST(RequesterSession, an_answer_that_is_pending_is_waited_for_anew) {
  for (const State state : {State::kLeaseSent, State::kAttachSent}) {
    RequesterSession session = session_in(state);
    for (std::uint64_t now_ms = 1'000; now_ms < 100'000; now_ms += 1'000) {
      EXPECT_NE(find_action<AnswerPending>(feed(session, FrameType::kPending, 2, now_ms)), nullptr);
      EXPECT_EQ(session.next_deadline_ms(), now_ms + 5'000);
    }
    EXPECT_EQ(session.state(), state);
  }
}

TEST(RequesterSession, a_grant_with_descriptors_is_ready_when_all_have_come) {
  RequesterSessionOptions options = make_options();
  options.can_take_descriptors = true;
  options.goal = TakeLease{0, true};
  RequesterSession session(options);
  session.start(0);
  const auto asked = feed_hello_reply(session, false, kFeatureDescriptors);
  EXPECT_EQ(decode_lease_request(sent_frames(asked)[0].body)->flags, kLeaseWantDescriptors);
  EXPECT_TRUE(
      feed(session, to_frame(encode(2, make_grant_with_descriptors(make_terms(65))))).empty());
  const auto some = feed(session, to_frame(encode(2, RegionFds{0, 64})), 10, 64);
  ASSERT_NE(find_action<TakeDescriptors>(some), nullptr);
  EXPECT_EQ(find_action<TakeDescriptors>(some)->count, 64U);
  EXPECT_EQ(find_action<LeaseReady>(some), nullptr);
  const auto rest = feed(session, to_frame(encode(2, RegionFds{64, 1})), 10, 1);
  EXPECT_EQ(find_action<TakeDescriptors>(rest)->first_region, 64U);
  EXPECT_NE(find_action<LeaseReady>(rest), nullptr);
}

TEST(RequesterSession, descriptors_must_be_as_many_as_announced) {
  const auto with = [](RegionFds fds, std::size_t count) {
    RequesterSession session = session_in(State::kDescriptors);
    return feed(session, to_frame(encode(2, fds)), 10, count);
  };
  EXPECT_NE(find_action<LeaseReady>(with({0, 3}, 3)), nullptr);
  expect_refused(with({0, 3}, 2), ErrorCode::kProtocol, "count is 3, but 2 descriptors came");
  expect_refused(with({0, 3}, 4), ErrorCode::kProtocol, "count is 3, but 4 descriptors came");
  expect_refused(with({1, 2}, 2), ErrorCode::kProtocol, "from index 1, but 0 of 3");
  expect_refused(with({0, 4}, 4), ErrorCode::kProtocol, "4 regions from index 0");
  RequesterSession session = session_in(State::kLeaseSent);
  expect_refused(feed(session, valid_frame(FrameType::kLeaseGrant, 2), 10, 1), ErrorCode::kProtocol,
                 "LEASE_GRANT came with 1 descriptors");
}

TEST(RequesterSession, a_provider_that_passes_no_descriptors_is_left) {
  RequesterSessionOptions options = make_options();
  options.can_take_descriptors = true;
  options.goal = TakeLease{0, true};
  RequesterSession session(options);
  session.start(0);
  expect_refused(feed_hello_reply(session), ErrorCode::kRefused, "does not pass its memory");
}

TEST(RequesterSession, features_that_were_not_offered_are_refused) {
  RequesterSession session = session_in(State::kHelloSent);
  expect_refused(feed_hello_reply(session, false, 2), ErrorCode::kProtocol, "features 0x2");
}

TEST(RequesterSession, a_wrong_grant_is_refused) {
  const auto granted = [](auto spoil) {
    RequesterSession session = session_in(State::kLeaseSent);
    LeaseGrant grant = make_grant();
    spoil(grant);
    return feed(session, to_frame(encode(2, grant)));
  };
  expect_refused(granted([](LeaseGrant& g) { g.flags = kGrantDescriptors; }), ErrorCode::kProtocol,
                 "not what was asked for");
  expect_refused(granted([](LeaseGrant& g) {
                   g.region_bytes *= 2;
                   g.bytes *= 2;
                 }),
                 ErrorCode::kProtocol, "LEASE_GRANT region_bytes is 4194304");
  expect_refused(granted([](LeaseGrant& g) { g.region_count = 0; }), ErrorCode::kProtocol,
                 "region_count is 0");
}

TEST(RequesterSession, a_lane_that_needs_names_joins_when_all_regions_are_named) {
  RequesterSession session = session_in(State::kRegions);
  EXPECT_TRUE(feed(session, to_frame(encode_regions(2, 0, make_regions(2)))).empty());
  EXPECT_FALSE(session.data_allowed());
  const std::vector<RegionEntry> last{{4096, kSegmentBytes, 77}};
  const auto actions = feed(session, to_frame(encode_regions(2, 2, last)));
  const auto* joined = find_action<LeaseJoined>(actions);
  ASSERT_NE(joined, nullptr);
  ASSERT_EQ(joined->regions.size(), 3U);
  EXPECT_EQ(joined->regions[2].key, 77U);
  EXPECT_TRUE(session.data_allowed());
}

TEST(RequesterSession, regions_that_were_not_asked_for_or_do_not_come_are_refused) {
  for (const bool wants : {true, false}) {
    RequesterSessionOptions options = make_options(Role::kData);
    options.goal = JoinLease{make_terms(), kIncarnation, 5, wants};
    RequesterSession session(options);
    session.start(0);
    feed_hello_reply(session);
    const Attached attached = wants ? make_attached() : make_attached_with_regions();
    expect_refused(feed(session, to_frame(encode(2, attached))), ErrorCode::kProtocol,
                   wants ? "needs regions" : "takes no regions");
  }
}

TEST(RequesterSession, regions_come_in_order_and_fit_the_lease) {
  const auto with = [](std::uint32_t first, const std::vector<RegionEntry>& regions) {
    RequesterSession session = session_in(State::kRegions);
    return feed(session, to_frame(encode_regions(2, first, regions)));
  };
  expect_refused(with(1, make_regions(1)), ErrorCode::kProtocol, "from index 1, but 0 of 3");
  expect_refused(with(0, make_regions(4)), ErrorCode::kProtocol, "4 regions from index 0");
  expect_refused(with(0, {{0, 2 * kSegmentBytes, 0}}), ErrorCode::kProtocol, "REGIONS length");
}

TEST(RequesterSession, waits_and_asks_again) {
  RequesterSession session = session_in(State::kLeaseSent);
  const auto delayed = feed(session, FrameType::kLeaseWait, 2, 100);
  ASSERT_NE(find_action<LeaseDelayed>(delayed), nullptr);
  EXPECT_EQ(session.next_deadline_ms(), 600U);
  EXPECT_TRUE(session.on_tick(599).empty());
  const auto again = session.on_tick(600);
  EXPECT_EQ(sent_names(again), "LEASE_REQUEST");
  EXPECT_EQ(sent_frames(again)[0].header.tag, 3U);
  EXPECT_EQ(session.state(), State::kLeaseSent);
}

TEST(RequesterSession, a_reply_must_carry_the_tag_of_its_request) {
  for (const State state :
       {State::kHelloSent, State::kLeaseSent, State::kRegions, State::kAttachSent}) {
    const FrameType type = state == State::kHelloSent    ? FrameType::kHelloReply
                           : state == State::kLeaseSent  ? FrameType::kLeaseGrant
                           : state == State::kAttachSent ? FrameType::kAttached
                                                         : FrameType::kRegions;
    RequesterSession session = session_in(state);
    expect_refused(feed(session, type, 77), ErrorCode::kProtocol, "has tag 77");
  }
  RequesterSession session = session_in(State::kAuth);
  FrameReader::Frame frame = valid_frame(FrameType::kAuth);
  frame.header.tag = 1;
  expect_refused(feed(session, frame), ErrorCode::kProtocol, "AUTH has tag 1");
}

TEST(RequesterSession, a_reply_nobody_asked_for_is_refused) {
  RequesterSession leased = session_in(State::kLeased);
  expect_refused(feed(leased, FrameType::kHeartbeatReply, 3), ErrorCode::kProtocol,
                 "HEARTBEAT_REPLY answers nothing");
  RequesterSession ready = session_in(State::kReady);
  expect_refused(feed(ready, FrameType::kStatsReply, 2), ErrorCode::kProtocol, "answers nothing");
  RequesterSession beating = session_in(State::kLeased);
  beating.on_tick(1'010);
  expect_refused(feed(beating, FrameType::kStatsReply, 3), ErrorCode::kProtocol,
                 "STATS_REPLY answers HEARTBEAT");
  RequesterSession releasing = session_in(State::kLeased);
  releasing.on_tick(1'010);
  releasing.release(1'010);
  expect_refused(feed(releasing, FrameType::kReleased, 3), ErrorCode::kProtocol,
                 "RELEASED answers HEARTBEAT");
}

TEST(RequesterSession, heartbeats_go_out_every_interval_and_their_silence_ends_it) {
  RequesterSession session = session_in(State::kLeased);
  EXPECT_EQ(session.next_deadline_ms(), 1'010U);
  EXPECT_TRUE(session.on_tick(1'009).empty());
  std::uint64_t tag = 3;
  for (std::uint64_t now_ms = 1'010; now_ms <= 10'010; now_ms += 1'000) {
    EXPECT_EQ(sent_names(session.on_tick(now_ms)), "HEARTBEAT");
    EXPECT_TRUE(feed(session, FrameType::kHeartbeatReply, tag++, now_ms).empty());
  }
  for (std::uint64_t now_ms = 11'010; now_ms < 16'010; now_ms += 1'000) {
    EXPECT_EQ(sent_names(session.on_tick(now_ms)), "HEARTBEAT") << now_ms;
  }
  expect_refused(session.on_tick(16'010), ErrorCode::kTimedOut, "no answer");
}

TEST(RequesterSession, the_lease_is_valid_from_the_time_of_an_answered_question) {
  RequesterSession session = session_in(State::kLeased);
  const LeaseTerms terms;
  const std::uint64_t kept_ms =
      std::uint64_t{kMissedHeartbeats} * terms.heartbeat_interval_ms + terms.grace_ms;
  EXPECT_LE(session.lease_valid_until_ms(), 10 + kept_ms);  // asked for at 10 or before
  session.on_tick(1'010);
  EXPECT_LE(session.lease_valid_until_ms(), 10 + kept_ms) << "asked, but not answered";
  feed(session, FrameType::kHeartbeatReply, 3, 1'900);
  EXPECT_EQ(session.lease_valid_until_ms(), 1'010 + kept_ms);
}

TEST(RequesterSession, every_state_that_waits_has_a_deadline) {
  for (const State state : {State::kHelloSent, State::kAuth, State::kLeaseSent, State::kDescriptors,
                            State::kRegions, State::kAttachSent, State::kReleaseSent}) {
    RequesterSession session = session_in(state);
    const std::uint64_t deadline_ms = session.next_deadline_ms();
    EXPECT_GE(deadline_ms, 5'000U) << session.state_name();
    EXPECT_LE(deadline_ms, 5'010U) << session.state_name();
    EXPECT_TRUE(session.on_tick(deadline_ms - 1).empty());
    expect_refused(session.on_tick(deadline_ms), ErrorCode::kTimedOut, "no answer");
  }
}

TEST(RequesterSession, stats_are_asked_for_once_at_a_time) {
  RequesterSession session = session_in(State::kReady);
  EXPECT_EQ(sent_names(session.request_stats(20)), "STATS_REQUEST");
  EXPECT_TRUE(session.request_stats(20).empty());
  const auto actions = feed(session, to_frame(encode(2, StatsReply{1, 2, 3})));
  ASSERT_NE(find_action<StatsArrived>(actions), nullptr);
  EXPECT_EQ(find_action<StatsArrived>(actions)->stats.free_bytes, 3U);
  EXPECT_EQ(sent_names(session.request_stats(20)), "STATS_REQUEST");
  expect_refused(session.on_tick(5'020), ErrorCode::kTimedOut, "no answer");
}

TEST(RequesterSession, release_waits_for_what_was_asked_before) {
  RequesterSession session = session_in(State::kLeased);
  session.on_tick(1'010);
  session.request_stats(1'020);
  EXPECT_EQ(sent_names(session.release(1'030)), "RELEASE");
  EXPECT_TRUE(session.release(1'030).empty());
  EXPECT_TRUE(feed(session, FrameType::kHeartbeatReply, 3).empty());
  EXPECT_NE(find_action<StatsArrived>(feed(session, FrameType::kStatsReply, 4)), nullptr);
  const auto actions = feed(session, FrameType::kReleased, 5);
  EXPECT_TRUE(closed(actions).orderly);
  EXPECT_EQ(closed(actions).reason.code, ErrorCode::kCancelled);
}

TEST(RequesterSession, release_without_a_lease_just_ends) {
  for (const State state :
       {State::kHelloSent, State::kAuth, State::kLeaseWaiting, State::kReady, State::kAttached}) {
    RequesterSession session = session_in(state);
    const auto actions = session.release(10);
    ASSERT_EQ(actions.size(), 1U);
    EXPECT_TRUE(closed(actions).orderly);
  }
}

TEST(RequesterSession, a_lane_joins_its_lease) {
  RequesterSession session(make_options(Role::kData));
  const auto first = session.start(0);
  EXPECT_EQ(decode_hello(sent_frames(first)[0].body)->role, Role::kData);
  const auto second = feed_hello_reply(session);
  ASSERT_EQ(sent_names(second), "ATTACH");
  EXPECT_EQ(decode_attach(sent_frames(second)[0].body)->token, kToken);
  EXPECT_EQ(decode_attach(sent_frames(second)[0].body)->lane, 5U);
  EXPECT_FALSE(session.data_allowed());
  const auto third = feed(session, FrameType::kAttached);
  ASSERT_NE(find_action<LeaseJoined>(third), nullptr);
  EXPECT_EQ(find_action<LeaseJoined>(third)->terms, make_terms());
  EXPECT_TRUE(session.data_allowed());
  EXPECT_EQ(session.next_deadline_ms(), UINT64_MAX);
}

TEST(RequesterSession, control_takes_its_lease_over_and_beats_again) {
  RequesterSession session = session_in(State::kAttachSent);
  Attached attached = make_attached();
  attached.heartbeat_interval_ms = 200;
  EXPECT_NE(find_action<LeaseJoined>(feed(session, to_frame(encode(2, attached)))), nullptr);
  EXPECT_EQ(session.state(), State::kLeased);
  EXPECT_EQ(session.next_deadline_ms(), 210U);
}

TEST(RequesterSession, another_incarnation_means_that_the_data_is_lost) {
  for (const Role role : {Role::kControl, Role::kData}) {
    RequesterSessionOptions options = make_options(role);
    options.goal = JoinLease{make_terms(), Incarnation{4}};
    RequesterSession session(options);
    session.start(0);
    expect_refused(feed_hello_reply(session), ErrorCode::kLost, "restarted");
  }
}

TEST(RequesterSession, a_lease_that_is_over_means_that_the_data_is_lost) {
  RequesterSession session = session_in(State::kAttachSent);
  const auto actions = feed(session, to_frame(encode_error(WireError::kNoLease, "no such lease")));
  ASSERT_EQ(actions.size(), 1U);
  EXPECT_EQ(closed(actions).reason.code, ErrorCode::kLost);
  EXPECT_EQ(closed(actions).reason.message,
            "provider tcp://10.0.0.2:7470: the provider says: no such lease (NO_LEASE)");
}

TEST(RequesterSession, another_lease_than_the_one_joined_is_refused) {
  RequesterSession session = session_in(State::kAttachSent);
  expect_refused(feed(session, to_frame(encode(2, make_attached(make_terms(4))))),
                 ErrorCode::kProtocol, "ATTACHED has 4 regions");
}

TEST(RequesterSession, a_key_on_one_side_only_is_refused_with_what_to_do) {
  RequesterSession without = session_in(State::kHelloSent);
  expect_refused(feed_hello_reply(without, true), ErrorCode::kRefused,
                 "give it the provider's key file");
  RequesterSessionOptions options = make_options();
  options.key = test_key(1);
  RequesterSession with(options);
  with.start(0);
  expect_refused(feed_hello_reply(with, false), ErrorCode::kRefused,
                 "start the provider with the same key file");
}

TEST(RequesterSession, garbage_instead_of_a_proof_is_refused) {
  RequesterSession session = session_in(State::kAuth);
  expect_refused(feed(session, FrameType::kAuth), ErrorCode::kRefused, "same key file");
}

TEST(RequesterSession, malformed_replies_name_the_field) {
  RequesterSession session = session_in(State::kHelloSent);
  FrameReader::Frame frame = valid_frame(FrameType::kHelloReply);
  frame.body[0] = std::byte{0};
  expect_refused(feed(session, frame), ErrorCode::kProtocol, "HELLO_REPLY magic");
  RequesterSession waiting = session_in(State::kLeaseSent);
  expect_refused(feed(waiting, to_frame(encode(2, LeaseWait{0, 0, 0}))), ErrorCode::kProtocol,
                 "retry_ms is 0");
}

TEST(RequesterSession, a_reply_that_is_too_short_ends_it_in_every_state_that_waits_for_one) {
  const std::pair<State, FrameType> expected[] = {
      {State::kLeaseSent, FrameType::kLeaseGrant},  {State::kLeaseSent, FrameType::kLeaseWait},
      {State::kDescriptors, FrameType::kRegionFds}, {State::kAttachSent, FrameType::kAttached},
      {State::kRegions, FrameType::kRegions},       {State::kReady, FrameType::kStatsReply}};
  for (const auto& [state, type] : expected) {
    RequesterSession session = session_in(state);
    if (state == State::kReady) session.request_stats(10);
    FrameReader::Frame frame = valid_frame(type, 2);
    frame.body.pop_back();
    --frame.header.body_bytes;
    expect_refused(feed(session, frame), ErrorCode::kProtocol, frame_type_name(type));
  }
}

TEST(RequesterSession, a_malformed_error_is_not_answered) {
  RequesterSession session = session_in(State::kLeased);
  FrameReader::Frame frame = valid_frame(FrameType::kError);
  frame.body.resize(3);
  frame.header.body_bytes = 3;
  const auto actions = feed(session, frame);
  EXPECT_FALSE(sent_error(actions).has_value());
  EXPECT_EQ(closed(actions).reason.code, ErrorCode::kProtocol);
}

TEST(RequesterSession, a_proof_that_never_ends_is_refused) {
  RequesterSession session = session_in(State::kAuth);
  // The beginning of a TLS record that says it is longer.
  for (const int byte : {0x16, 0x03, 0x03, 0x00, 0x7a, 0x02, 0x00, 0x00}) {
    const std::byte piece{static_cast<std::uint8_t>(byte)};
    feed(session, to_frame(encode_frame(FrameType::kAuth, 0, {&piece, 1})));
    ASSERT_EQ(session.state(), State::kAuth);
  }
  const std::byte more{0x76};
  expect_refused(feed(session, to_frame(encode_frame(FrameType::kAuth, 0, {&more, 1}))),
                 ErrorCode::kProtocol, "more than 8 AUTH frames");
}

TEST(RequesterSession, a_cut_says_where_it_happened) {
  RequesterSession session = session_in(State::kLeaseSent);
  const auto actions = session.on_closed();
  ASSERT_EQ(actions.size(), 1U);
  EXPECT_EQ(closed(actions).reason.code, ErrorCode::kDisconnected);
  EXPECT_EQ(closed(actions).reason.message,
            "provider tcp://10.0.0.2:7470: the connection ended in state LEASE_SENT");
}

}  // namespace
}  // namespace rram::test
