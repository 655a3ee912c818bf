// One provider with several RDMA NICs: its lanes take turns over them, and each reaches the same
// memory by the names that its own NIC has for it. In the lab: RRAM_TEST_VERBS_ADDRESS and
// RRAM_TEST_VERBS_ADDRESS_2, of two devices.
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "provider/server.h"
#include "rdma/control/control_connection.h"
#include "rdma/verbs/verbs_channel.h"
#include "rdma/verbs/verbs_dialer.h"
#include "rdma/verbs/verbs_lane.h"
#include "tests/contract/arena.h"
#include "tests/contract/run_task.h"
#include "tests/contract/transfers.h"

namespace rram::test {
namespace {

constexpr std::uint64_t kTimeoutMs = 5'000;

class VerbsDevices : public testing::Test {
 protected:
  void SetUp() override {
    const char* first = std::getenv("RRAM_TEST_VERBS_ADDRESS");
    const char* second = std::getenv("RRAM_TEST_VERBS_ADDRESS_2");
    if (first == nullptr || second == nullptr) {
      GTEST_SKIP() << "no two RDMA devices here; the lab has them";
    }
    ServerOptions options;
    options.size_bytes = std::uint64_t{16} << 20;
    options.huge_pages = HugePages::kOff;
    options.lock_memory = false;
    Endpoint everywhere;
    everywhere.scheme = Endpoint::Scheme::kVerbs;
    everywhere.host = "0.0.0.0";
    everywhere.port = 0;
    options.listen = {everywhere};
    options.allow = {Cidr::parse(first).value(), Cidr::parse(second).value()};
    auto server = ProviderServer::start(std::move(options));
    ASSERT_TRUE(server.has_value()) << server.error().message;
    server_ = std::move(*server);
    endpoint_ = server_->endpoints().front();
    endpoint_.host = first;
    endpoint_.more_hosts = {second};
    loop_ = make_loop();
  }
  void TearDown() override {
    for (const auto& lane : lanes_) run_task(*loop_, lane->close());
    if (control_) run_task(*loop_, control_->release(kTimeoutMs));
  }

  void take_lease() {
    LeaseOptions options;
    options.requester_name = "devices-test";
    auto control = run_task(
        *loop_,
        ControlConnection::open(*loop_, std::make_unique<VerbsDialer>(endpoint_, "", memories_),
                                std::move(options), MemoryNames::kKeys));
    ASSERT_TRUE(control.has_value()) << control.error().message;
    control_ = std::move(*control);
  }

  // The lane, and the name of the device that it goes over.
  std::string open_lane(std::uint64_t number) {
    auto data = run_task(*loop_, control_->open_data(*loop_, number, {kTimeoutMs}));
    EXPECT_TRUE(data.has_value()) << data.error().message;
    std::unique_ptr<VerbsChannel> channel(static_cast<VerbsChannel*>(data->channel.release()));
    ibv_context* device = channel->endpoint().id()->verbs;
    lanes_.push_back(std::make_unique<VerbsLane>(*loop_, std::move(channel),
                                                 memories_->of(*device).value(),
                                                 std::move(data->regions), "provider"));
    EXPECT_TRUE(lanes_.back()->announce_arena(arena()));
    return ibv_get_device_name(device->device);
  }

  std::unique_ptr<ProviderServer> server_;
  Endpoint endpoint_;
  std::unique_ptr<EventLoop> loop_;
  std::shared_ptr<LocalMemories> memories_ = std::make_shared<LocalMemories>();
  std::unique_ptr<ControlConnection> control_;
  std::vector<std::unique_ptr<VerbsLane>> lanes_;
};

TEST_F(VerbsDevices, lanes_take_turns_and_reach_the_same_memory) {
  ASSERT_NO_FATAL_FAILURE(take_lease());
  std::multiset<std::string> devices;
  for (std::uint64_t number = 1; number <= 4; ++number) devices.insert(open_lane(number));
  const std::string& one = *devices.begin();
  EXPECT_EQ(devices.count(one), 2U) << "of four lanes, over " << one;
  const RemoteRegion& region = control_->regions().back();
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    Bytes written = pattern(100'000, static_cast<std::uint32_t>(i));
    Bytes found(written.size());
    ASSERT_EQ(run_task(*loop_, carry_out(*loop_, *lanes_[i],
                                         {Operation::Kind::kWrite, &region, 4096, written})),
              std::nullopt);
    VerbsLane& other = *lanes_[(i + 1) % lanes_.size()];
    ASSERT_EQ(
        run_task(*loop_, carry_out(*loop_, other, {Operation::Kind::kRead, &region, 4096, found})),
        std::nullopt);
    EXPECT_EQ(found, written);
  }
}

TEST_F(VerbsDevices, an_address_that_does_not_answer_is_passed_over) {
  endpoint_.more_hosts.insert(endpoint_.more_hosts.begin(), "127.0.0.9");
  ASSERT_NO_FATAL_FAILURE(take_lease());
  std::multiset<std::string> devices;
  for (std::uint64_t number = 1; number <= 6; ++number) devices.insert(open_lane(number));
  EXPECT_EQ(std::set<std::string>(devices.begin(), devices.end()).size(), 2U);
}

}  // namespace
}  // namespace rram::test
