// The proof of the key against somebody on the way, or at the other end, who does not have it: what
// was recorded, reflected or changed opens nothing.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "provider/status.h"
#include "rdma/tcp/tcp_lease.h"
#include "tests/contract/run_task.h"
#include "tests/process/middle_man.h"
#include "tests/process/provider_fixture.h"
#include "tests/unit/wire/session_helpers.h"

namespace rram::test {
namespace {

using Sender = MiddleMan::Sender;

constexpr std::uint64_t kTimeoutMs = 5'000;

// Changes the body of a frame as if it were a struct.
template <typename T>
void change(FrameBytes& frame, const std::function<void(T&)>& how) {
  T body{};
  std::memcpy(&body, frame.data() + sizeof(FrameHeader), sizeof body);
  how(body);
  std::memcpy(frame.data() + sizeof(FrameHeader), &body, sizeof body);
}

class ProviderProofTest : public ProviderFixture {
 protected:
  void SetUp() override {
    const Result<PresharedKey> key = generate_key();
    ASSERT_TRUE(key);
    key_ = *key;
    options_.key = key_;
    start();
  }
  // What an honest requester with the key gets from there.
  [[nodiscard]] Result<StatsReply> ask(const Endpoint& provider) const {
    return query_stats(provider, key_, kTimeoutMs);
  }
  void expect_refusal(const Endpoint& provider, const std::string& what) const {
    const Result<StatsReply> answer = ask(provider);
    ASSERT_FALSE(answer) << what;
    EXPECT_EQ(answer.error().code, ErrorCode::kRefused) << what << ": " << answer.error().message;
  }
  // An honest conversation, overheard.
  struct Recording {
    std::vector<FrameBytes> of_requester;
    std::vector<FrameBytes> of_provider;
  };
  [[nodiscard]] Recording record() const {
    const MiddleMan man(tcp());
    EXPECT_TRUE(ask(man.endpoint()));
    return {man.heard(Sender::kRequester), man.heard(Sender::kProvider)};
  }

  std::optional<PresharedKey> key_;
};

TEST_F(ProviderProofTest, somebody_who_only_passes_frames_on_hears_the_whole_proof) {
  const Recording recording = record();
  ASSERT_EQ(recording.of_requester.size(), 4);
  EXPECT_EQ(type_of(recording.of_requester[0]), FrameType::kHello);
  EXPECT_EQ(type_of(recording.of_requester[1]), FrameType::kAuth);
  EXPECT_EQ(type_of(recording.of_requester[2]), FrameType::kAuth);
  EXPECT_EQ(type_of(recording.of_requester[3]), FrameType::kStatsRequest);
  ASSERT_EQ(recording.of_provider.size(), 4);
  EXPECT_EQ(type_of(recording.of_provider[3]), FrameType::kStatsReply);
}

TEST_F(ProviderProofTest, what_a_requester_has_sent_opens_nothing_a_second_time) {
  const Recording recording = record();
  for (const Endpoint& provider : {tcp(), unix_socket()}) {
    RawRequester thief(provider);
    thief.send(recording.of_requester[0]);
    EXPECT_EQ(thief.receive()->header.type, FrameType::kHelloReply);
    thief.send(recording.of_requester[1]);
    EXPECT_EQ(thief.receive()->header.type, FrameType::kAuth);
    thief.send(recording.of_requester[2]);
    EXPECT_EQ(thief.receive_error(), WireError::kAuthentication);
    EXPECT_TRUE(thief.is_closed_by_peer());
  }
}

TEST_F(ProviderProofTest, what_a_provider_has_sent_convinces_nobody_a_second_time) {
  const Recording recording = record();
  const FakeProvider impostor([&](RawRequester& requester) {
    for (const FrameBytes& frame : recording.of_provider) {
      if (!requester.receive()) return;
      requester.send(frame);
    }
  });
  expect_refusal(impostor.endpoint(), "a recording");
}

TEST_F(ProviderProofTest, what_a_requester_says_is_no_proof_when_it_comes_back_to_it) {
  const FrameBytes hello_reply = record().of_provider.front();
  const FakeProvider mirror([&](RawRequester& requester) {
    requester.receive();
    requester.send(hello_reply);
    while (const std::optional<RawFrame> frame = requester.receive()) {
      requester.send(encode_frame(frame->header.type, frame->header.tag, frame->body));
    }
  });
  expect_refusal(mirror.endpoint(), "a mirror");
}

TEST_F(ProviderProofTest, what_a_provider_says_is_no_proof_when_it_comes_back_to_it) {
  const Recording recording = record();
  RawRequester first(tcp());
  RawRequester second(tcp());
  for (RawRequester* requester : {&first, &second}) {
    requester->send(recording.of_requester[0]);
    EXPECT_EQ(requester->receive()->header.type, FrameType::kHelloReply);
  }
  first.send(recording.of_requester[1]);
  const std::optional<RawFrame> said = first.receive();
  ASSERT_TRUE(said);
  ASSERT_EQ(said->header.type, FrameType::kAuth);
  const FrameBytes reflected = encode_frame(FrameType::kAuth, 0, said->body);
  first.send(reflected);
  EXPECT_EQ(first.receive_error(), WireError::kAuthentication) << "on the same connection";
  second.send(reflected);
  EXPECT_EQ(second.receive_error(), WireError::kAuthentication) << "on another one";
}

TEST_F(ProviderProofTest, whatever_is_changed_on_the_way_ends_the_connection_on_both_sides) {
  struct Case {
    std::string what;
    Sender sender;
    FrameType type;
    std::function<void(FrameBytes&)> edit;
  };
  const auto of_hello = [](std::function<void(Hello&)> how) {
    return [how = std::move(how)](FrameBytes& frame) { change<Hello>(frame, how); };
  };
  const auto of_reply = [](std::function<void(HelloReply&)> how) {
    return [how = std::move(how)](FrameBytes& frame) { change<HelloReply>(frame, how); };
  };
  const auto flip_at = [](std::size_t from_end) {
    return [from_end](FrameBytes& frame) { frame.at(frame.size() - from_end) ^= std::byte{1}; };
  };
  const std::vector<Case> cases = {
      {"the highest version", Sender::kRequester, FrameType::kHello,
       of_hello([](Hello& hello) { ++hello.version_max; })},
      {"the features asked for", Sender::kRequester, FrameType::kHello,
       of_hello([](Hello& hello) { hello.features ^= kFeatureDescriptors; })},
      {"the role", Sender::kRequester, FrameType::kHello,
       of_hello([](Hello& hello) { hello.role = Role::kData; })},
      {"the requester's name", Sender::kRequester, FrameType::kHello,
       of_hello([](Hello& hello) { hello.name = make_name("somebody else"); })},
      {"that a key is needed", Sender::kProvider, FrameType::kHelloReply,
       of_reply([](HelloReply& reply) { reply.auth_required = 0; })},
      {"the incarnation", Sender::kProvider, FrameType::kHelloReply,
       of_reply([](HelloReply& reply) { reply.incarnation[0] ^= 1; })},
      {"the size of the pool", Sender::kProvider, FrameType::kHelloReply,
       of_reply([](HelloReply& reply) { reply.pool_bytes *= 2; })},
      {"the provider's name", Sender::kProvider, FrameType::kHelloReply,
       of_reply([](HelloReply& reply) { reply.name = make_name("somebody else"); })},
      {"the end of the requester's proof", Sender::kRequester, FrameType::kAuth, flip_at(1)},
      {"the end of the provider's proof", Sender::kProvider, FrameType::kAuth, flip_at(1)},
      {"the middle of the requester's proof", Sender::kRequester, FrameType::kAuth, flip_at(50)},
      {"the middle of the provider's proof", Sender::kProvider, FrameType::kAuth, flip_at(50)},
  };
  for (const Case& c : cases) {
    const MiddleMan man(tcp(), [&](Sender sender, FrameBytes& frame) {
      if (sender == c.sender && type_of(frame) == c.type) c.edit(frame);
    });
    expect_refusal(man.endpoint(), c.what);
    EXPECT_FALSE(man.heard(FrameType::kStatsReply)) << c.what;
  }
}

TEST_F(ProviderProofTest, before_the_proof_nothing_but_the_proof_is_taken) {
  for (const Role role : {Role::kControl, Role::kData}) {
    for (const FrameType type : kAllTypes) {
      if (type == FrameType::kAuth || type == FrameType::kError) continue;
      RawRequester stranger(unix_socket());
      EXPECT_TRUE(stranger.hello(role, kFeatureDescriptors));
      const FrameReader::Frame frame = valid_frame(type);
      stranger.send(encode_frame(type, frame.header.tag, frame.body));
      const std::optional<RawFrame> answer = stranger.receive();
      ASSERT_TRUE(answer) << frame_type_name(type);
      EXPECT_EQ(answer->header.type, FrameType::kError) << frame_type_name(type);
      EXPECT_TRUE(answer->descriptors.empty()) << frame_type_name(type);
      EXPECT_TRUE(stranger.receive_rest().empty()) << frame_type_name(type);
    }
  }
  EXPECT_EQ(server_->stats().leases, 0);
}

// Frames after the proof can be heard: docs/protocol.md says so.
TEST_F(ProviderProofTest, a_token_that_was_overheard_is_of_no_use_without_the_key) {
  const MiddleMan man(tcp());
  const std::unique_ptr<EventLoop> loop = make_loop();
  LeaseOptions lease_options;
  lease_options.requester_name = "proof-test";
  lease_options.key = key_;
  auto lease = run_task(*loop, TcpLease::take(*loop, man.endpoint(), std::move(lease_options)));
  ASSERT_TRUE(lease) << lease.error().message;
  const std::optional<FrameBytes> overheard = man.heard(FrameType::kLeaseGrant);
  ASSERT_TRUE(overheard);
  const LeaseGrant grant = *decode_lease_grant(std::span(*overheard).subspan(sizeof(FrameHeader)));
  for (const Role role : {Role::kControl, Role::kData}) {
    RawRequester thief(tcp());
    EXPECT_TRUE(thief.hello(role));
    const std::uint64_t lane = role == Role::kData ? 1 : 0;
    thief.send(encode(2, Attach{grant.lease_id, grant.token, lane}));
    EXPECT_EQ(thief.receive_error(), WireError::kProtocol);
  }
  run_task(*loop, (*lease)->release(kTimeoutMs));
}

}  // namespace
}  // namespace rram::test
