// What somebody on the way can do to a connection that travels in records: hear nothing, change
// nothing, and nothing but end it.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rdma/tcp/tcp_lease.h"
#include "tests/contract/run_task.h"
#include "tests/process/middle_man.h"
#include "tests/process/provider_fixture.h"
#include "tests/process/record_man.h"

namespace rram::test {
namespace {

using Bytes = RecordMan::Bytes;
using Kind = Operation::Kind;
using Sender = MiddleMan::Sender;

constexpr std::uint64_t kTimeoutMs = 5'000;
constexpr std::uint64_t kOperationNs = 3'000'000'000;
constexpr std::string_view kCanary = "canary-that-nobody-else-writes-7f3a91";

Task<std::optional<ErrorCode>> carry_out(EventLoop& loop, Lane& lane, Kind kind,
                                         const RemoteRegion& region, std::uint64_t offset_bytes,
                                         std::span<std::byte> bytes) {
  Operation operation;
  operation.kind = kind;
  operation.region = &region;
  operation.offset_bytes = offset_bytes;
  operation.local = bytes;
  operation.deadline_ns = loop.now_ns() + kOperationNs;
  OperationGroup group;
  group.add(operation);
  lane.submit(operation);
  const std::optional<ErrorCode> failure = co_await group;
  co_return failure;
}

class ProviderRecordsTest : public ProviderFixture {
 protected:
  void SetUp() override {
    const Result<PresharedKey> key = generate_key();
    ASSERT_TRUE(key);
    options_.key = *key;
    loop_ = make_loop();
  }

  [[nodiscard]] LeaseOptions lease_options(bool tls) const {
    LeaseOptions options;
    options.requester_name = "records-test";
    options.key = options_.key;
    options.tls = tls;
    options.wanted_bytes = 4 * kMiB;
    options.timeout_ms = kTimeoutMs;
    return options;
  }
  Result<std::unique_ptr<HeldLease>> take(const Endpoint& endpoint, LeaseOptions options) {
    return run_task(*loop_, TcpLease::take(*loop_, endpoint, std::move(options)));
  }
  std::unique_ptr<Lane> open(HeldLease& lease) {
    auto lane = run_task(*loop_, lease.open_lane(*loop_, 1, {kTimeoutMs}));
    EXPECT_TRUE(lane) << lane.error().message;
    return std::move(*lane);
  }
  std::optional<ErrorCode> write(Lane& lane, const HeldLease& lease, Bytes bytes) {
    return run_task(*loop_,
                    carry_out(*loop_, lane, Kind::kWrite, lease.regions().front(), 0, bytes));
  }
  Bytes read_back(Lane& lane, const HeldLease& lease, std::size_t size_bytes) {
    Bytes bytes(size_bytes);
    EXPECT_EQ(
        run_task(*loop_, carry_out(*loop_, lane, Kind::kRead, lease.regions().front(), 0, bytes)),
        std::nullopt);
    return bytes;
  }
  void close(std::unique_ptr<Lane>& lane) {
    run_task(*loop_, lane->close());
    lane.reset();
  }
  void release(HeldLease& lease) { run_task(*loop_, lease.release(kTimeoutMs)); }
  void wait_until_broken(const Lane& lane) {
    for (int i = 0; i < 1000 && !lane.is_broken(); ++i) run_for_ms(*loop_, 2);
    ASSERT_TRUE(lane.is_broken());
  }

  std::unique_ptr<EventLoop> loop_;
};

// ---- hearing -----------------------------------------------------------------------------------

TEST_F(ProviderRecordsTest, what_is_stored_is_heard_on_the_way_without_tls_and_not_with_it) {
  start();
  for (const bool tls : {false, true}) {
    const RecordMan man(tcp());
    auto lease = take(man.endpoint(), lease_options(tls));
    ASSERT_TRUE(lease) << lease.error().message;
    std::unique_ptr<Lane> lane = open(**lease);
    Bytes bytes(100'000);
    std::memcpy(bytes.data() + 50'000, kCanary.data(), kCanary.size());
    EXPECT_EQ(write(*lane, **lease, bytes), std::nullopt);
    EXPECT_EQ(read_back(*lane, **lease, bytes.size()), bytes);
    close(lane);
    release(**lease);
    EXPECT_EQ(man.heard(kCanary), !tls);
    EXPECT_TRUE(man.heard("records-test")) << "the capture works: HELLO is not sealed";
  }
}

// ---- changing ----------------------------------------------------------------------------------

// What happens to the records of lanes from one side, from the moment when it is armed.
class Harm {
 public:
  using How = std::function<std::vector<Bytes>(const Bytes& record)>;
  explicit Harm(Sender sender) : sender_(sender) {}

  void arm(How how) {
    const std::lock_guard lock(mutex_);
    how_ = std::move(how);
  }
  void disarm() { arm(nullptr); }
  [[nodiscard]] RecordMan::Edit edit() {
    return [this](const RecordMan::Record& record) -> std::vector<Bytes> {
      const bool is_mine = record.role == Role::kData && record.sender == sender_;
      const std::lock_guard lock(mutex_);
      if (!how_ || !is_mine) return {record.bytes};
      return how_(record.bytes);
    };
  }

 private:
  const Sender sender_;
  std::mutex mutex_;
  How how_;  // none: they pass as they are
};

Bytes flipped(Bytes record, std::size_t at) {
  record.at(at) ^= std::byte{0x40};
  return record;
}

struct HarmCase {
  std::string what;
  std::function<Harm::How()> make;
};

// Each ends the lane at the record that it touches, or at the next.
std::vector<HarmCase> harm_cases() {
  const auto flip = [](std::size_t at) {
    return [at]() -> Harm::How {
      return [at](const Bytes& record) -> std::vector<Bytes> {
        return {flipped(record, at < record.size() ? at : record.size() - 1)};
      };
    };
  };
  return {
      {"a bit of the header", flip(0)},
      {"a bit of the length", flip(4)},
      {"a bit of the first frame's header", flip(7)},
      {"a bit of the payload", flip(100)},
      {"a bit of the tag", flip(SIZE_MAX)},
      {"a record left out",
       []() -> Harm::How {
         return [is_first = true](const Bytes& record) mutable -> std::vector<Bytes> {
           if (std::exchange(is_first, false)) return {};
           return {record};
         };
       }},
      {"two records in the other order",
       []() -> Harm::How {
         return [held = std::optional<Bytes>()](const Bytes& record) mutable {
           if (!held) {
             held = record;
             return std::vector<Bytes>{};
           }
           return std::vector<Bytes>{record, *std::exchange(held, Bytes{})};
         };
       }},
      {"half a record and then the next",
       []() -> Harm::How {
         return [](const Bytes& record) -> std::vector<Bytes> {
           return {Bytes(record.begin(),
                         record.begin() + static_cast<std::ptrdiff_t>(record.size() / 2))};
         };
       }},
  };
}

TEST_F(ProviderRecordsTest, a_write_that_is_touched_on_the_way_fails_and_places_nothing) {
  start();
  Harm harm(Sender::kRequester);
  const RecordMan man(tcp(), harm.edit());
  auto lease = take(man.endpoint(), lease_options(true));
  ASSERT_TRUE(lease) << lease.error().message;
  for (const HarmCase& each : harm_cases()) {
    SCOPED_TRACE(each.what);
    harm.disarm();
    std::unique_ptr<Lane> lane = open(**lease);
    const Bytes before = pattern(4096, 1);
    ASSERT_EQ(write(*lane, **lease, before), std::nullopt);
    harm.arm(each.make());
    // Two of them: what is left out is noticed at the next record.
    struct Both {
      static Task<> one(EventLoop& loop, Lane& lane, const RemoteRegion& region,
                        std::span<std::byte> bytes, std::optional<ErrorCode>& end) {
        end = co_await carry_out(loop, lane, Kind::kWrite, region, 0, bytes);
      }
      static Task<> run(EventLoop& loop, Lane& lane, const RemoteRegion& region,
                        std::span<std::byte> bytes, std::vector<std::optional<ErrorCode>>& ends) {
        Gate gate;
        for (std::optional<ErrorCode>& end : ends) {
          spawn(gate, one(loop, lane, region, bytes, end));
          co_await loop.sleep_ms(20);  // a record of its own
        }
        co_await gate.close();
      }
    };
    Bytes after = pattern(4096, 2);
    std::vector<std::optional<ErrorCode>> ends(2);
    run_task(*loop_, Both::run(*loop_, *lane, (*lease)->regions().front(), after, ends));
    EXPECT_TRUE(ends[0] && ends[1]) << "neither was answered well";
    wait_until_broken(*lane);
    close(lane);
    harm.disarm();
    lane = open(**lease);
    EXPECT_TRUE(read_back(*lane, **lease, before.size()) == before);
    close(lane);
  }
  EXPECT_GT(server_->stats().protocol_errors, 0U);
  release(**lease);
}

TEST_F(ProviderRecordsTest, a_record_that_is_sent_again_is_not_carried_out_again) {
  start();
  Harm harm(Sender::kRequester);
  const RecordMan man(tcp(), harm.edit());
  auto lease = take(man.endpoint(), lease_options(true));
  ASSERT_TRUE(lease) << lease.error().message;
  std::unique_ptr<Lane> lane = open(**lease);
  const Bytes older = pattern(4096, 1);
  const Bytes newer = pattern(4096, 2);
  harm.arm([first = std::optional<Bytes>()](const Bytes& record) mutable {
    if (!first) {
      first = record;
      return std::vector<Bytes>{record};
    }
    return std::vector<Bytes>{record, *first};
  });
  EXPECT_EQ(write(*lane, **lease, older), std::nullopt);
  static_cast<void>(write(*lane, **lease, newer));  // answered, or cut off by what follows it
  wait_until_broken(*lane);
  close(lane);
  harm.disarm();
  lane = open(**lease);
  EXPECT_TRUE(read_back(*lane, **lease, newer.size()) == newer);
  close(lane);
  release(**lease);
}

TEST_F(ProviderRecordsTest, an_answer_that_is_touched_on_the_way_fails_the_read) {
  start();
  Harm harm(Sender::kProvider);
  const RecordMan man(tcp(), harm.edit());
  auto lease = take(man.endpoint(), lease_options(true));
  ASSERT_TRUE(lease) << lease.error().message;
  for (const std::size_t at : {std::size_t{0}, std::size_t{4}, std::size_t{20}, std::size_t{300}}) {
    SCOPED_TRACE(at);
    std::unique_ptr<Lane> lane = open(**lease);
    ASSERT_EQ(write(*lane, **lease, pattern(4096, 1)), std::nullopt);
    harm.arm([at](const Bytes& record) { return std::vector<Bytes>{flipped(record, at)}; });
    Bytes bytes(4096);
    const auto end = run_task(
        *loop_, carry_out(*loop_, *lane, Kind::kRead, (*lease)->regions().front(), 0, bytes));
    EXPECT_TRUE(end);
    EXPECT_TRUE(bytes == Bytes(4096)) << "what is not proved is not handed out";
    ASSERT_TRUE(lane->is_broken());
    // A longer length is noticed only when the record does not end.
    if (end == ErrorCode::kDisconnected) {
      EXPECT_EQ(lane->reason().code, ErrorCode::kProtocol);
      EXPECT_NE(lane->reason().message.find("not what the peer sealed"), std::string::npos)
          << lane->reason().message;
    }
    close(lane);
    harm.disarm();
  }
  release(**lease);
}

TEST_F(ProviderRecordsTest, a_control_connection_that_is_touched_ends_with_a_reason) {
  start();
  for (const Sender sender : {Sender::kRequester, Sender::kProvider}) {
    const RecordMan man(tcp(), [sender](const RecordMan::Record& record) -> std::vector<Bytes> {
      return {record.sender == sender ? flipped(record.bytes, 9) : record.bytes};
    });
    const auto lease = take(man.endpoint(), lease_options(true));
    ASSERT_FALSE(lease);
    EXPECT_EQ(lease.error().code, ErrorCode::kProtocol) << lease.error().message;
    EXPECT_NE(lease.error().message.find("not what the peer sealed"), std::string::npos)
        << lease.error().message;
  }
}

// ---- taking tls out ----------------------------------------------------------------------------

TEST_F(ProviderRecordsTest, who_takes_the_wish_for_tls_out_on_the_way_gets_no_connection) {
  start();
  const auto change_features = [](FrameBytes& frame, std::size_t offset, std::uint64_t flip) {
    std::uint64_t features = 0;
    std::memcpy(&features, frame.data() + sizeof(FrameHeader) + offset, sizeof features);
    features ^= flip;
    std::memcpy(frame.data() + sizeof(FrameHeader) + offset, &features, sizeof features);
  };
  const auto of_hello = [&](FrameBytes& frame) {
    if (type_of(frame) == FrameType::kHello) {
      change_features(frame, offsetof(Hello, features), kFeatureTls);
    }
  };
  const auto of_reply = [&](FrameBytes& frame) {
    if (type_of(frame) == FrameType::kHelloReply) {
      change_features(frame, offsetof(HelloReply, features), kFeatureTls);
    }
  };
  struct Case {
    std::string what;
    bool tls;
    MiddleMan::Edit edit;
  };
  const std::vector<Case> cases = {
      {"the wish", true, [&](Sender /*sender*/, FrameBytes& frame) { of_hello(frame); }},
      {"the grant", true, [&](Sender /*sender*/, FrameBytes& frame) { of_reply(frame); }},
      {"the wish, with a grant of his own", true,
       [&](Sender /*sender*/, FrameBytes& frame) {
         of_hello(frame);
         of_reply(frame);
       }},
      {"a wish that nobody had", false,
       [&](Sender /*sender*/, FrameBytes& frame) { of_hello(frame); }},
  };
  for (const Case& each : cases) {
    const MiddleMan man(tcp(), each.edit);
    const auto lease = take(man.endpoint(), lease_options(each.tls));
    ASSERT_FALSE(lease) << each.what;
    EXPECT_TRUE(lease.error().code == ErrorCode::kRefused ||
                lease.error().code == ErrorCode::kProtocol)
        << each.what << ": " << lease.error().message;
    EXPECT_FALSE(man.heard(FrameType::kLeaseGrant)) << each.what;
  }
  EXPECT_EQ(server_->stats().leases, 0U);
}

// ---- speaking before the records begin ----------------------------------------------------------

void pass_frame(RawRequester& from, RawRequester& to, const FrameBytes& forged = {}) {
  const std::optional<RawFrame> frame = from.receive();
  ASSERT_TRUE(frame);
  FrameBytes bytes = encode_frame(frame->header.type, frame->header.tag, frame->body);
  bytes.insert(bytes.end(), forged.begin(), forged.end());
  to.send(bytes);
}

TEST_F(ProviderRecordsTest, what_is_slipped_in_behind_a_proof_is_not_read) {
  start();
  for (int i = 0; i < 10; ++i) {
    const FakeProvider man([&](RawRequester& requester) {
      RawRequester real(tcp());
      pass_frame(requester, real);  // HELLO
      pass_frame(real, requester);
      pass_frame(requester, real);  // AUTH
      pass_frame(real, requester);
      // The last word of the proof, a wish of his own, and nobody who could take the answer.
      const linger reset{1, 0};
      ::setsockopt(real.fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
      pass_frame(requester, real, encode(7, LeaseRequest{}));
      real.close();
    });
    EXPECT_FALSE(take(man.endpoint(), lease_options(true)));
    run_for_ms(*loop_, 20);
    // A lease would be kept for the grace time.
    ASSERT_EQ(server_->stats().leases, 0U);
  }
}

TEST_F(ProviderRecordsTest, a_provider_that_requires_tls_takes_nobody_without_it_over_tcp) {
  options_.require_tls = true;
  start();
  const auto refused = take(tcp(), lease_options(false));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kRefused);
  EXPECT_NE(refused.error().message.find("-o tls"), std::string::npos) << refused.error().message;
  auto encrypted = take(tcp(), lease_options(true));
  ASSERT_TRUE(encrypted) << encrypted.error().message;
  release(**encrypted);
  auto on_this_host = take(unix_socket(), lease_options(false));
  ASSERT_TRUE(on_this_host) << on_this_host.error().message;
  release(**on_this_host);
}

TEST_F(ProviderRecordsTest, requiring_tls_without_a_key_or_over_rdma_is_refused_at_the_start) {
  options_.require_tls = true;
  const std::optional<PresharedKey> key = std::exchange(options_.key, std::nullopt);
  auto server = ProviderServer::start(options_);
  ASSERT_FALSE(server);
  EXPECT_NE(server.error().message.find("--key-file"), std::string::npos);
  options_.key = key;
  options_.listen.front().scheme = Endpoint::Scheme::kVerbs;
  server = ProviderServer::start(options_);
  ASSERT_FALSE(server);
  EXPECT_NE(server.error().message.find("RDMA cannot be encrypted"), std::string::npos)
      << server.error().message;
}

// ---- keys that wear out ------------------------------------------------------------------------

TEST_F(ProviderRecordsTest, under_load_lanes_are_made_again_before_their_keys_wear_out) {
  start();
  const RecordMan man(tcp());
  LeaseOptions few = lease_options(true);
  few.records_before_renewal = 40;
  auto lease = take(man.endpoint(), few);
  ASSERT_TRUE(lease) << lease.error().message;
  std::unique_ptr<Lane> lane = open(**lease);
  struct Load {
    // Writes and reads a place of its own again and again; false: something was not as written.
    static Task<> run(EventLoop& loop, Lane& lane, const RemoteRegion& region, unsigned slot,
                      unsigned& done) {
      constexpr std::size_t kBytes = 50'000;
      for (unsigned round = 0; round < 20; ++round) {
        Bytes written = pattern(kBytes, slot * 100 + round);
        Bytes found(kBytes);
        const auto wrote =
            co_await carry_out(loop, lane, Kind::kWrite, region, slot * kBytes, written);
        const auto read = co_await carry_out(loop, lane, Kind::kRead, region, slot * kBytes, found);
        if (!wrote && !read && found == written) ++done;
      }
    }
    static Task<> run_all(EventLoop& loop, Lane& lane, const RemoteRegion& region, unsigned& done) {
      Gate gate;
      for (unsigned slot = 0; slot < 8; ++slot) spawn(gate, run(loop, lane, region, slot, done));
      co_await gate.close();
    }
  };
  unsigned done = 0;
  run_task(*loop_, Load::run_all(*loop_, *lane, (*lease)->regions().front(), done));
  EXPECT_EQ(done, 160U) << "every round wrote and read back what it had written";
  EXPECT_FALSE(lane->is_broken());
  EXPECT_EQ(lane->stats().failures, 0U);
  EXPECT_GE(man.connections(Role::kData), 5U);
  close(lane);
  release(**lease);
}

}  // namespace
}  // namespace rram::test
