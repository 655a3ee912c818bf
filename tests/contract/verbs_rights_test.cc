// What an RDMA connection may do with memory that is not its own: nothing, though it knows the
// lease, the addresses and the keys, whether it has proved nothing or belongs to the lease beside
// it. In the lab: RRAM_TEST_VERBS_ADDRESS.
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "provider/server.h"
#include "rdma/control/control_connection.h"
#include "rdma/verbs/local_memory.h"
#include "rdma/verbs/verbs_channel.h"
#include "rdma/verbs/verbs_dialer.h"
#include "rdma/verbs/verbs_lane.h"
#include "tests/contract/arena.h"
#include "tests/contract/run_task.h"
#include "tests/contract/transfers.h"

namespace rram::test {
namespace {

constexpr std::uint64_t kTimeoutNs = 5'000'000'000;
constexpr std::uint64_t kLeaseBytes = std::uint64_t{4} << 20;

// How one piece of work ended.
class Outcome final : public WorkTarget {
 public:
  explicit Outcome(EventLoop& loop) : notice_(loop) {}
  void on_work_done(const WorkResult& result) override {
    status_ = result.status;
    notice_.give();
  }
  Task<ibv_wc_status> wait(EventLoop& loop) {
    while (!status_) {
      const bool is_given = co_await notice_.wait_until(loop.now_ns() + kTimeoutNs);
      if (!is_given) break;
    }
    co_return status_.value_or(IBV_WC_GENERAL_ERR);
  }

 private:
  Notice notice_;
  std::optional<ibv_wc_status> status_;
};

class VerbsRights : public testing::Test {
 protected:
  void SetUp() override {
    const char* address = std::getenv("RRAM_TEST_VERBS_ADDRESS");
    if (address == nullptr) GTEST_SKIP() << "no RDMA device here; the lab has one";
    ServerOptions options;
    options.size_bytes = std::uint64_t{16} << 20;
    options.huge_pages = HugePages::kOff;
    options.lock_memory = false;
    options.grace_ms = 100;
    Endpoint endpoint;
    endpoint.scheme = Endpoint::Scheme::kVerbs;
    endpoint.host = address;
    endpoint.port = 0;
    options.listen = {endpoint};
    options.allow = {Cidr::parse(address).value()};
    auto server = ProviderServer::start(std::move(options));
    ASSERT_TRUE(server.has_value()) << server.error().message;
    server_ = std::move(*server);
    endpoint_ = server_->endpoints().front();
    loop_ = make_loop();
    control_ = take_lease();
  }
  void TearDown() override {
    if (control_) run_task(*loop_, control_->release(5'000));
  }

  std::unique_ptr<ControlConnection> take_lease(std::uint64_t wanted_bytes = 0) {
    LeaseOptions options;
    options.requester_name = "rights-test";
    options.wanted_bytes = wanted_bytes;
    auto control = run_task(
        *loop_, ControlConnection::open(*loop_, dialer(), std::move(options), MemoryNames::kKeys));
    EXPECT_TRUE(control.has_value()) << control.error().message;
    return std::move(*control);
  }
  std::unique_ptr<VerbsDialer> dialer() {
    return std::make_unique<VerbsDialer>(endpoint_, "", memories_);
  }

  // A lane of the lease, as its holder opens it.
  DataConnection rightful_connection() { return rightful_connection(*control_); }
  DataConnection rightful_connection(const ControlConnection& control) {
    auto data = run_task(*loop_, control.open_data(*loop_, 1, {5'000}));
    EXPECT_TRUE(data.has_value()) << data.error().message;
    return std::move(*data);
  }

  // A data connection that names the lease and says nothing more.
  std::unique_ptr<VerbsChannel> silent_connection(const LeaseId& lease) {
    dialers_.push_back(dialer());
    auto channel =
        run_task(*loop_, dialers_.back()->dial(*loop_, lease, loop_->now_ns() + kTimeoutNs));
    EXPECT_TRUE(channel.has_value()) << channel.error().message;
    return std::unique_ptr<VerbsChannel>(static_cast<VerbsChannel*>(channel->release()));
  }

  ibv_wc_status attempt(VerbsChannel& channel, ibv_wr_opcode opcode, const RegionEntry& region) {
    const auto memory = memories_->of(*channel.endpoint().id()->verbs).value();
    const auto registered = memory->announce(arena()).value();
    ibv_send_wr request{};
    request.opcode = opcode;
    request.wr.rdma.remote_addr = region.base;
    request.wr.rdma.rkey = static_cast<std::uint32_t>(region.key);
    Outcome outcome(*loop_);
    channel.queue_pair().add_send(request,
                                  {reinterpret_cast<std::uint64_t>(buffer_.data()),
                                   static_cast<std::uint32_t>(buffer_.size()), registered->lkey},
                                  outcome, 0);
    channel.queue_pair().submit();
    const ibv_wc_status status = run_task(*loop_, outcome.wait(*loop_));
    run_task(*loop_, channel.close());
    return status;
  }

  std::unique_ptr<ProviderServer> server_;
  Endpoint endpoint_;
  std::unique_ptr<EventLoop> loop_;
  std::shared_ptr<LocalMemories> memories_ = std::make_shared<LocalMemories>();
  std::vector<std::unique_ptr<VerbsDialer>> dialers_;
  std::unique_ptr<ControlConnection> control_;
  Bytes buffer_ = pattern(4096, 7);
};

TEST_F(VerbsRights, a_connection_that_has_not_attached_can_neither_read_nor_write) {
  DataConnection rightful = rightful_connection();
  const RegionEntry named = rightful.regions.front();
  auto reader = silent_connection(control_->lease_id());
  EXPECT_NE(attempt(*reader, IBV_WR_RDMA_READ, named), IBV_WC_SUCCESS);
  auto writer = silent_connection(control_->lease_id());
  EXPECT_NE(attempt(*writer, IBV_WR_RDMA_WRITE, named), IBV_WC_SUCCESS);

  // Who attached may do both, and finds nothing of what the other has tried to write.
  std::unique_ptr<VerbsChannel> attached(static_cast<VerbsChannel*>(rightful.channel.release()));
  const auto memory = memories_->of(*attached->endpoint().id()->verbs).value();
  VerbsLane lane(*loop_, std::move(attached), memory, rightful.regions, "provider");
  ASSERT_TRUE(lane.announce_arena(arena()));
  const RemoteRegion& region = control_->regions().front();
  Bytes found(4096, std::byte{0xEE});
  EXPECT_EQ(run_task(*loop_, carry_out(*loop_, lane, {Operation::Kind::kRead, &region, 0, found})),
            std::nullopt);
  EXPECT_EQ(found, Bytes(4096));
  run_task(*loop_, lane.close());
}

TEST_F(VerbsRights, a_lease_that_is_over_leaves_nothing_to_a_connection_that_named_it) {
  DataConnection rightful = rightful_connection();
  const RegionEntry named = rightful.regions.front();
  run_task(*loop_, rightful.channel->close());
  const LeaseId lease = control_->lease_id();
  auto lingering = silent_connection(lease);
  run_task(*loop_, control_->release(5'000));
  control_ = take_lease();  // the same memory, for somebody else
  EXPECT_NE(control_->lease_id(), lease);
  EXPECT_NE(attempt(*lingering, IBV_WR_RDMA_READ, named), IBV_WC_SUCCESS);
}

TEST_F(VerbsRights, an_attached_connection_reaches_only_its_own_lease) {
  run_task(*loop_, control_->release(5'000));
  control_ = take_lease(kLeaseBytes);
  const std::unique_ptr<ControlConnection> other = take_lease(kLeaseBytes);
  DataConnection others = rightful_connection(*other);
  DataConnection ours = rightful_connection();
  const RegionEntry own = ours.regions.front();
  run_task(*loop_, ours.channel->close());
  const RegionEntry theirs = others.regions.front();
  const std::vector<std::pair<std::string, RegionEntry>> targets = {
      {"the neighbour's region", theirs},
      {"its address with the own key", {theirs.base, theirs.length, own.key}},
      {"the own address with its key", {own.base, own.length, theirs.key}},
      {"over the own end", {own.base + own.length - 1, own.length, own.key}},
      {"before the own beginning", {own.base - 1, own.length, own.key}},
      {"the end of all addresses", {UINT64_MAX - 100, own.length, own.key}},
      {"the key of no region", {own.base, own.length, own.key ^ 0xFF}},
  };
  for (const auto& [what, target] : targets) {
    for (const ibv_wr_opcode opcode : {IBV_WR_RDMA_READ, IBV_WR_RDMA_WRITE}) {
      DataConnection attacker = rightful_connection();
      EXPECT_NE(attempt(static_cast<VerbsChannel&>(*attacker.channel), opcode, target),
                IBV_WC_SUCCESS)
          << what;
    }
  }
  DataConnection rightful = rightful_connection();
  EXPECT_EQ(attempt(static_cast<VerbsChannel&>(*rightful.channel), IBV_WR_RDMA_READ, own),
            IBV_WC_SUCCESS)
      << "else nothing above was tried";
  buffer_.assign(buffer_.size(), std::byte{0xEE});
  EXPECT_EQ(attempt(static_cast<VerbsChannel&>(*others.channel), IBV_WR_RDMA_READ, theirs),
            IBV_WC_SUCCESS);
  EXPECT_EQ(buffer_, Bytes(buffer_.size())) << "somebody has written there";
  run_task(*loop_, other->release(5'000));
}

}  // namespace
}  // namespace rram::test
