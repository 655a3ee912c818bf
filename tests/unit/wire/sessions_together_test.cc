// Both state machines, talking to each other over two byte streams in memory, with a pool that
// always says yes. Time is a number.
#include <gtest/gtest.h>

#include <deque>

#include "rdma/session/provider_session.h"
#include "rdma/session/requester_session.h"
#include "tests/unit/wire/session_helpers.h"

namespace rram::test {
namespace {

// One connection with a session at each end.
class Wire {
 public:
  Wire(ProviderSessionOptions provider_side, RequesterSessionOptions requester_side)
      : provider(std::move(provider_side), 0), requester(std::move(requester_side)) {}

  void start() {
    take(requester.start(now_ms));
    run();
  }

  // Delivers until both streams are empty.
  void run() {
    for (bool moved = true; moved;) {
      moved = deliver_to_provider();
      moved = deliver_to_requester() || moved;
    }
  }

  // Lets time pass in steps of `step_ms`, with both timers.
  void pass(std::uint64_t time_ms, std::uint64_t step_ms = 100) {
    for (const std::uint64_t end_ms = now_ms + time_ms; now_ms < end_ms;) {
      now_ms += step_ms;
      if (!requester_silent) {
        take(requester.on_tick(now_ms));
      }
      take(provider.on_tick(now_ms));
      run();
    }
  }

  void take(const RequesterActions& actions) {
    for (const auto& action : actions) {
      if (const auto* send = std::get_if<SendFrame>(&action)) {
        to_provider.push(send->bytes);
        ++sent_by_requester;
      } else if (const auto* start = std::get_if<StartRecords>(&action)) {
        requester_records = {start->keys, sent_by_requester};
      } else if (const auto* lease = std::get_if<LeaseReady>(&action)) {
        ready = *lease;
      } else if (const auto* join = std::get_if<LeaseJoined>(&action)) {
        joined = *join;
      } else if (const auto* fds = std::get_if<TakeDescriptors>(&action)) {
        descriptors_taken += fds->count;
      } else if (const auto* arrived = std::get_if<StatsArrived>(&action)) {
        stats = arrived->stats;
      } else if (const auto* close = std::get_if<CloseConnection>(&action)) {
        requester_closed = *close;
      }
    }
  }

  void take(const ProviderActions& actions) {
    for (const auto& action : actions) {
      if (const auto* send = std::get_if<SendFrame>(&action)) {
        to_requester.push(send->bytes);
        ++sent_by_provider;
      } else if (const auto* start = std::get_if<StartRecords>(&action)) {
        provider_records = {start->keys, sent_by_provider};
      } else if (const auto* fds = std::get_if<SendDescriptors>(&action)) {
        to_requester.push(fds->bytes);
        descriptors_in_flight += fds->count;
      } else if (const auto* want = std::get_if<WantLease>(&action)) {
        if (waits-- > 0) {
          take(provider.wait(kSegmentBytes, 200, now_ms));
        } else {
          take(provider.grant(make_terms(region_count), now_ms));
        }
        wanted = *want;
      } else if (const auto* attach = std::get_if<WantAttach>(&action)) {
        const bool fits = attach->lease_id == kLeaseId && same_secret(attach->token, kToken);
        take(fits ? provider.attached(make_terms(region_count), named_regions, now_ms)
                  : provider.end(WireError::kNoLease, "no such lease"));
      } else if (const auto* ask = std::get_if<WantStats>(&action)) {
        take(provider.stats(ask->tag, StatsReply{.leases = 1}));
      } else if (std::holds_alternative<WantRelease>(action)) {
        take(provider.released());
      } else if (const auto* close = std::get_if<CloseConnection>(&action)) {
        provider_closed = *close;
      }
    }
  }

  ProviderSession provider;
  RequesterSession requester;
  FrameReader to_provider;
  FrameReader to_requester;
  std::uint64_t now_ms = 0;
  std::uint32_t region_count = 3;
  std::vector<RegionEntry> named_regions;  // that a lane is told
  int waits = 0;
  bool requester_silent = false;
  std::uint32_t descriptors_in_flight = 0;
  std::uint32_t descriptors_taken = 0;
  // The keys, and how many frames had been sent before they were to be used.
  struct Records {
    RecordKeys keys;
    std::size_t frames_before = 0;
  };
  std::optional<Records> requester_records;
  std::optional<Records> provider_records;
  std::size_t sent_by_requester = 0;
  std::size_t sent_by_provider = 0;
  std::optional<WantLease> wanted;
  std::optional<LeaseReady> ready;
  std::optional<LeaseJoined> joined;
  std::optional<StatsReply> stats;
  std::optional<CloseConnection> requester_closed;
  std::optional<CloseConnection> provider_closed;

 private:
  bool deliver_to_provider() {
    if (provider_closed) {
      return false;
    }
    const auto frame = to_provider.next(provider.accepted(), provider.state_name());
    if (!frame) {
      take(provider.on_malformed(frame.error()));
      return true;
    }
    if (!frame->has_value()) {
      return false;
    }
    take(provider.on_frame((*frame)->header, (*frame)->body, 0, now_ms));
    return true;
  }

  bool deliver_to_requester() {
    if (requester_closed) {
      return false;
    }
    const auto frame = to_requester.next(requester.accepted(), requester.state_name());
    if (!frame) {
      take(requester.on_malformed(frame.error()));
      return true;
    }
    if (!frame->has_value()) {
      return false;
    }
    std::size_t descriptors = 0;
    if ((*frame)->header.type == FrameType::kRegionFds) {
      descriptors = std::min(descriptors_in_flight, kMaxDescriptorsPerFrame);
      descriptors_in_flight -= static_cast<std::uint32_t>(descriptors);
    }
    take(requester.on_frame((*frame)->header, (*frame)->body, descriptors, now_ms));
    return true;
  }
};

ProviderSessionOptions provider_options() {
  ProviderSessionOptions options;
  options.provider_name = "host-b";
  options.incarnation = kIncarnation;
  options.pool_bytes = kMaxPoolBytes;
  options.free_bytes = kMaxPoolBytes;
  options.segment_bytes = kSegmentBytes;
  return options;
}

RequesterSessionOptions requester_options() {
  RequesterSessionOptions options;
  options.requester_name = "host-a:/mnt/r";
  options.provider_text = "10.0.0.2";
  return options;
}

RequesterSessionOptions lane_options() {
  RequesterSessionOptions options = requester_options();
  options.role = Role::kData;
  options.goal = JoinLease{make_terms(), kIncarnation, 1};
  return options;
}

TEST(SessionsTogether, a_lease_lives_from_hello_to_release) {
  Wire wire(provider_options(), requester_options());
  wire.start();
  ASSERT_TRUE(wire.ready.has_value());
  EXPECT_EQ(wire.ready->terms, make_terms());
  wire.pass(60'000);
  EXPECT_FALSE(wire.requester_closed.has_value());
  wire.take(wire.requester.request_stats(wire.now_ms));
  wire.run();
  EXPECT_EQ(wire.stats->leases, 1U);
  wire.take(wire.requester.release(wire.now_ms));
  wire.run();
  EXPECT_TRUE(wire.requester_closed->orderly);
  EXPECT_TRUE(wire.provider_closed->orderly);
}

TEST(SessionsTogether, the_largest_lease_with_all_its_descriptors_arrives) {
  ProviderSessionOptions provider = provider_options();
  provider.can_pass_descriptors = true;
  RequesterSessionOptions requester = requester_options();
  requester.can_take_descriptors = true;
  requester.goal = TakeLease{0, true};
  Wire wire(provider, requester);
  wire.region_count = kMaxRegionsPerLease;
  wire.start();
  ASSERT_TRUE(wire.ready.has_value()) << wire.requester_closed->reason.message;
  EXPECT_EQ(wire.ready->terms.region_count, kMaxRegionsPerLease);
  EXPECT_EQ(wire.descriptors_taken, kMaxRegionsPerLease);
}

TEST(SessionsTogether, a_lane_learns_the_names_of_the_largest_lease) {
  RequesterSessionOptions requester = lane_options();
  requester.goal = JoinLease{make_terms(kMaxRegionsPerLease), kIncarnation, 1, true};
  Wire wire(provider_options(), requester);
  wire.region_count = kMaxRegionsPerLease;
  wire.named_regions = make_regions(kMaxRegionsPerLease);
  wire.start();
  ASSERT_TRUE(wire.joined.has_value()) << wire.requester_closed->reason.message;
  EXPECT_EQ(wire.joined->regions.size(), kMaxRegionsPerLease);
}

TEST(SessionsTogether, a_lease_is_waited_for_while_memory_is_zeroed) {
  Wire wire(provider_options(), requester_options());
  wire.waits = 20;
  wire.start();
  EXPECT_FALSE(wire.ready.has_value());
  wire.pass(10'000, 50);
  EXPECT_TRUE(wire.ready.has_value());
}

TEST(SessionsTogether, lanes_join_and_a_wrong_token_does_not) {
  Wire wire(provider_options(), lane_options());
  wire.start();
  EXPECT_TRUE(wire.joined.has_value());
  EXPECT_TRUE(wire.provider.data_allowed());
  EXPECT_TRUE(wire.requester.data_allowed());
  wire.pass(100'000, 1'000);
  EXPECT_FALSE(wire.requester_closed || wire.provider_closed);

  RequesterSessionOptions thief = lane_options();
  std::get<JoinLease>(thief.goal).terms.token = {1};
  Wire other(provider_options(), thief);
  other.start();
  EXPECT_FALSE(other.joined.has_value());
  EXPECT_FALSE(other.provider.data_allowed());
  EXPECT_EQ(other.requester_closed->reason.code, ErrorCode::kLost);
}

TEST(SessionsTogether, one_key_on_both_sides_opens_control_and_lanes) {
  for (RequesterSessionOptions requester : {requester_options(), lane_options()}) {
    ProviderSessionOptions provider = provider_options();
    provider.key = test_key(5);
    requester.key = test_key(5);
    Wire wire(provider, requester);
    wire.start();
    EXPECT_TRUE(wire.ready.has_value() || wire.joined.has_value());
    EXPECT_FALSE(wire.requester_closed || wire.provider_closed);
  }
}

TEST(SessionsTogether, keys_that_do_not_fit_are_refused_on_both_sides_with_a_reason) {
  const auto refused = [](std::optional<int> provider_key, std::optional<int> requester_key,
                          std::string_view part) {
    ProviderSessionOptions provider = provider_options();
    RequesterSessionOptions requester = requester_options();
    if (provider_key) {
      provider.key = test_key(static_cast<std::uint8_t>(*provider_key));
    }
    if (requester_key) {
      requester.key = test_key(static_cast<std::uint8_t>(*requester_key));
    }
    Wire wire(provider, requester);
    wire.start();
    EXPECT_FALSE(wire.ready.has_value());
    ASSERT_TRUE(wire.requester_closed.has_value() && wire.provider_closed.has_value());
    EXPECT_EQ(wire.requester_closed->reason.code, ErrorCode::kRefused);
    EXPECT_EQ(wire.provider_closed->reason.code, ErrorCode::kRefused);
    EXPECT_NE(wire.requester_closed->reason.message.find(part), std::string::npos)
        << wire.requester_closed->reason.message;
    EXPECT_NE(wire.provider_closed->reason.message.find(part), std::string::npos)
        << wire.provider_closed->reason.message;
  };
  refused(1, 2, "wrong key");
  refused(1, std::nullopt, "requires a key");
  refused(std::nullopt, 2, "cannot prove itself");
}

struct TlsSide {
  ProviderSessionOptions provider = provider_options();
  RequesterSessionOptions requester = requester_options();
  TlsSide() {
    provider.key = test_key(5);
    provider.can_use_records = true;
    requester.key = test_key(5);
    requester.wants_records = true;
  }
};

TEST(SessionsTogether, records_begin_behind_the_proof_with_the_same_keys_on_both_sides) {
  for (const Role role : {Role::kControl, Role::kData}) {
    TlsSide side;
    if (role == Role::kData) side.requester.goal = lane_options().goal;
    side.requester.role = role;
    Wire wire(side.provider, side.requester);
    wire.start();
    EXPECT_TRUE(wire.ready.has_value() || wire.joined.has_value());
    ASSERT_TRUE(wire.requester_records && wire.provider_records);
    EXPECT_EQ(wire.requester_records->keys.send.key, wire.provider_records->keys.receive.key);
    EXPECT_EQ(wire.requester_records->keys.receive.key, wire.provider_records->keys.send.key);
    EXPECT_EQ(wire.requester_records->frames_before, 3U) << "HELLO AUTH AUTH";
    EXPECT_EQ(wire.provider_records->frames_before, 3U) << "HELLO_REPLY AUTH AUTH";
  }
}

TEST(SessionsTogether, there_are_no_records_unless_both_sides_want_them) {
  TlsSide side;
  side.requester.wants_records = false;
  Wire wire(side.provider, side.requester);
  wire.start();
  EXPECT_TRUE(wire.ready.has_value());
  EXPECT_FALSE(wire.requester_records || wire.provider_records);
}

TEST(SessionsTogether, a_requester_that_was_told_tls_goes_no_other_way) {
  TlsSide side;
  side.provider.can_use_records = false;
  Wire wire(side.provider, side.requester);
  wire.start();
  EXPECT_FALSE(wire.ready.has_value());
  ASSERT_TRUE(wire.requester_closed.has_value());
  EXPECT_EQ(wire.requester_closed->reason.code, ErrorCode::kRefused);
  EXPECT_NE(wire.requester_closed->reason.message.find("does not offer tls"), std::string::npos);
}

TEST(SessionsTogether, a_provider_that_requires_tls_refuses_who_does_not_ask_for_it) {
  TlsSide side;
  side.provider.requires_records = true;
  side.requester.wants_records = false;
  Wire wire(side.provider, side.requester);
  wire.start();
  EXPECT_FALSE(wire.ready.has_value());
  ASSERT_TRUE(wire.requester_closed.has_value());
  EXPECT_NE(wire.requester_closed->reason.message.find("-o tls"), std::string::npos);
  // Where records are not to be had, on the host itself, it asks for none.
  side.provider.can_use_records = false;
  Wire here(side.provider, side.requester);
  here.start();
  EXPECT_TRUE(here.ready.has_value());
}

TEST(SessionsTogether, a_silent_requester_is_ended_and_can_take_its_lease_over) {
  Wire wire(provider_options(), requester_options());
  wire.start();
  wire.requester_silent = true;
  wire.pass(6'000);
  ASSERT_TRUE(wire.provider_closed.has_value());
  EXPECT_EQ(wire.provider_closed->reason.code, ErrorCode::kTimedOut);
  EXPECT_EQ(wire.provider.lease_id(), kLeaseId);
  EXPECT_EQ(wire.requester_closed->reason.code, ErrorCode::kTimedOut);

  RequesterSessionOptions again = requester_options();
  again.goal = JoinLease{wire.ready->terms, wire.requester.hello_reply()->incarnation};
  Wire second(provider_options(), again);
  second.start();
  EXPECT_TRUE(second.joined.has_value());
  second.pass(30'000);
  EXPECT_FALSE(second.requester_closed || second.provider_closed);
}

TEST(SessionsTogether, a_restarted_provider_means_that_the_data_is_lost) {
  ProviderSessionOptions restarted = provider_options();
  restarted.incarnation = {99};
  Wire wire(restarted, lane_options());
  wire.start();
  EXPECT_EQ(wire.requester_closed->reason.code, ErrorCode::kLost);
}

TEST(SessionsTogether, a_provider_that_stops_tells_why) {
  Wire wire(provider_options(), requester_options());
  wire.start();
  wire.take(wire.provider.end(WireError::kShuttingDown, "host-b is being stopped"));
  wire.run();
  EXPECT_EQ(wire.requester_closed->reason.code, ErrorCode::kDisconnected);
  EXPECT_NE(wire.requester_closed->reason.message.find("host-b is being stopped"),
            std::string::npos);
}

TEST(SessionsTogether, a_silent_provider_is_left_within_the_limit) {
  Wire wire(provider_options(), requester_options());
  wire.take(wire.requester.start(0));
  wire.take(wire.requester.on_tick(5'000));
  EXPECT_EQ(wire.requester_closed->reason.code, ErrorCode::kTimedOut);
}

}  // namespace
}  // namespace rram::test
