// A provider in this process, on a free port and a socket of its own.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "provider/server.h"
#include "tests/process/provider_raw_requester.h"

namespace rram::test {

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

  ServerOptions options_;
  std::unique_ptr<ProviderServer> server_;
  std::string folder_;
};

}  // namespace rram::test
