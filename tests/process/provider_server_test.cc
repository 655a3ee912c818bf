// How a provider starts, stops, and bears many requesters at once.
#include "provider/server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/process/provider_fixture.h"

namespace rram::test {
namespace {

TEST_F(ProviderServerTest, stopping_ends_every_connection_and_removes_the_socket_file) {
  start();
  Holder holder = hold(tcp(), 0);
  auto lane = open_lane(unix_socket(), holder);
  RawRequester idle(tcp());
  std::jthread stopper([this] { server_->stop(); });
  EXPECT_EQ(holder.control->receive_error(), WireError::kShuttingDown);
  EXPECT_EQ(lane->receive_error(), WireError::kShuttingDown);
  EXPECT_TRUE(idle.is_closed_by_peer());
  holder.control->close();
  stopper.join();
  EXPECT_FALSE(std::filesystem::exists(socket_path()));
}

TEST_F(ProviderServerTest, a_socket_file_of_a_dead_provider_is_replaced_and_of_a_live_one_not) {
  {
    const UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, socket_path().data(), socket_path().size());
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  start();
  EXPECT_TRUE(RawRequester(unix_socket()).hello(Role::kControl));
  const Result<std::unique_ptr<ProviderServer>> second = ProviderServer::start(options_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kExists);
  EXPECT_TRUE(RawRequester(unix_socket()).hello(Role::kControl));
}

TEST_F(ProviderServerTest, a_port_that_is_taken_is_said) {
  start();
  ServerOptions options = options_;
  options.listen = {tcp()};
  const Result<std::unique_ptr<ProviderServer>> second = ProviderServer::start(options);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kExists);
  EXPECT_NE(second.error().message.find("--listen"), std::string::npos);
}

TEST_F(ProviderServerTest, many_requesters_come_work_and_vanish_at_once) {
  options_.grace_ms = 20;
  start();
  std::vector<std::jthread> threads;
  for (unsigned t = 0; t < 6; ++t) {
    threads.emplace_back([this, t] {
      for (unsigned round = 0; round < 8; ++round) {
        RawRequester control(t % 2 == 0 ? tcp() : unix_socket());
        if (!control.hello(Role::kControl)) continue;
        const auto lease = control.take_lease(2 * kMiB);
        if (!lease) continue;  // being taken back
        RawRequester lane(tcp());
        if (!lane.hello(Role::kData)) continue;
        if (!lane.attach(lease->grant.lease_id, lease->grant.token)) continue;
        const auto before = lane.read(0, 0, 2 << 20);
        EXPECT_TRUE(before && is_zero(*before));
        const auto data = pattern(200'000, t * 100 + round);
        EXPECT_TRUE(lane.write(0, round, data));
        EXPECT_EQ(lane.read(0, round, 200'000), data);
        if (round % 3 == 0) control.send(encode_empty(FrameType::kRelease, 1));
        if (round % 3 == 1) lane.send(bytes_of(make_read(1, 0, 0, 2 << 20)));
      }
    });
  }
  threads.clear();  // when they have ended
  EXPECT_TRUE(all_is_free_again());
}

}  // namespace
}  // namespace rram::test
