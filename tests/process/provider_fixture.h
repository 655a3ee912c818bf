// A provider in this process, on a free port and a socket of its own.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "provider/server.h"
#include "tests/process/provider_raw_requester.h"

namespace rram::test {

inline std::vector<std::byte> pattern(std::size_t size_bytes, unsigned seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes(size_bytes);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

inline bool is_zero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

class ProviderFixture : public testing::Test {
 protected:
  static constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
  static constexpr std::uint64_t kPoolBytes = 32 * kMiB;  // 16 segments of 2 MiB

  ProviderFixture() {
    const std::string pattern =
        (std::filesystem::temp_directory_path() / "rram-test-XXXXXX").string();
    folder_ = pattern;
    EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
    options_.size_bytes = kPoolBytes;
    options_.lock_memory = false;
    options_.huge_pages = HugePages::kOff;
    options_.workers = 2;
    options_.grace_ms = 200;
    options_.silent_grace_ms = 1'000;
    options_.times.linger_ms = 300;
    Endpoint tcp;
    tcp.scheme = Endpoint::Scheme::kTcp;
    tcp.host = "127.0.0.1";
    tcp.port = 0;
    Endpoint unix_socket;
    unix_socket.scheme = Endpoint::Scheme::kUnix;
    unix_socket.path = socket_path();
    options_.listen = {tcp, unix_socket};
  }

  ~ProviderFixture() override {
    server_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  // All of the pool is pinned when this returns.
  void start() {
    start_pinning();
    ASSERT_TRUE(server_ && server_->wait_until_pinned());
  }

  void start_pinning() {
    Result<std::unique_ptr<ProviderServer>> server = ProviderServer::start(options_);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
  }

  [[nodiscard]] std::string socket_path() const { return folder_ + "/provider.sock"; }
  [[nodiscard]] Endpoint tcp() const { return server_->endpoints().at(0); }
  [[nodiscard]] Endpoint unix_socket() const { return server_->endpoints().at(1); }

  // Polls, because what it waits for happens on other threads; false after 5 s.
  static bool eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 1000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }

  [[nodiscard]] bool all_is_free_again() const {
    return eventually([this] { return server_->stats().free_bytes == kPoolBytes; });
  }

  // A control connection that holds a lease.
  struct Holder {
    std::unique_ptr<RawRequester> control;
    RawLease lease;
  };
  static Holder hold(const Endpoint& provider, std::uint64_t wanted_bytes,
                     bool descriptors = false) {
    Holder holder;
    holder.control = std::make_unique<RawRequester>(provider);
    EXPECT_TRUE(holder.control->hello(Role::kControl, descriptors ? kFeatureDescriptors : 0));
    std::optional<RawLease> lease = holder.control->take_lease(wanted_bytes, descriptors);
    EXPECT_TRUE(lease);
    if (lease) holder.lease = std::move(*lease);
    return holder;
  }
  // Without a number: a lane of its own.
  static std::unique_ptr<RawRequester> open_lane(const Endpoint& provider, const Holder& holder,
                                                 std::uint64_t number = 0) {
    static std::uint64_t next_number = 1000;
    auto lane = std::make_unique<RawRequester>(provider);
    EXPECT_TRUE(lane->hello(Role::kData));
    EXPECT_TRUE(lane->attach(holder.lease.grant.lease_id, holder.lease.grant.token,
                             number != 0 ? number : next_number++));
    return lane;
  }

  ServerOptions options_;
  std::unique_ptr<ProviderServer> server_;
  std::string folder_;
};

// For suites that need no more than that.
using ProviderServerTest = ProviderFixture;

}  // namespace rram::test
