#include "tests/contract/world.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <utility>

#include "provider/server.h"
#include "rdma/local/local_lease.h"
#include "rdma/shm/shm_lease.h"
#include "rdma/tcp/tcp_lease.h"

namespace rram::test {

namespace {

constexpr std::uint64_t kPoolBytes = std::uint64_t{64} << 20;

class LocalWorld final : public World {
 public:
  Task<Result<std::unique_ptr<HeldLease>>> take(EventLoop& /*loop*/,
                                                std::uint64_t wanted_bytes) override {
    Endpoint endpoint;
    endpoint.scheme = Endpoint::Scheme::kLocal;
    endpoint.size_bytes = kPoolBytes;
    co_return LocalLease::create(endpoint, wanted_bytes);
  }
  [[nodiscard]] bool can_die() const override { return false; }
};

// A folder that goes with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string path = (std::filesystem::temp_directory_path() / "rram-XXXXXX").string();
    EXPECT_NE(::mkdtemp(path.data()), nullptr);
    path_ = path;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

enum class Way : std::uint8_t { kTcp, kUnix, kShm };

// A real provider in this process, with threads of its own.
class ProviderWorld final : public World {
 public:
  ProviderWorld(Way way, std::optional<PresharedKey> key) : way_(way), key_(std::move(key)) {
    endpoint_.scheme = way == Way::kTcp ? Endpoint::Scheme::kTcp : Endpoint::Scheme::kUnix;
    if (way == Way::kTcp) {
      endpoint_.host = "127.0.0.1";
      endpoint_.port = 0;
    } else {
      endpoint_.path = (folder_.path() / "provider.sock").string();
    }
    start();
  }

  Task<Result<std::unique_ptr<HeldLease>>> take(EventLoop& loop,
                                                std::uint64_t wanted_bytes) override {
    LeaseOptions options;
    options.requester_name = "contract-test";
    options.wanted_bytes = wanted_bytes;
    options.key = key_;
    return way_ == Way::kShm ? ShmLease::take(loop, endpoint_, std::move(options))
                             : TcpLease::take(loop, endpoint_, std::move(options));
  }

  void kill() override {
    server_->stop();
    server_.reset();
  }
  void start_again() override { start(); }

 private:
  void start() {
    ServerOptions options;
    options.name = "contract-provider";
    options.size_bytes = kPoolBytes;
    options.huge_pages = HugePages::kOff;
    options.lock_memory = false;
    options.listen = {endpoint_};
    options.key = key_;
    options.workers = 2;
    Result<std::unique_ptr<ProviderServer>> server = ProviderServer::start(std::move(options));
    ASSERT_TRUE(server.has_value()) << server.error().message;
    server_ = std::move(*server);
    endpoint_ = server_->endpoints().front();
  }

  TemporaryFolder folder_;
  Way way_;
  std::optional<PresharedKey> key_;
  Endpoint endpoint_;
  std::unique_ptr<ProviderServer> server_;
};

WorldKind provider_world(std::string name, Way way, const std::optional<PresharedKey>& key = {}) {
  return {std::move(name), [way, key] { return std::make_unique<ProviderWorld>(way, key); }};
}

}  // namespace

WorldKind local_world() {
  return {"local", [] { return std::make_unique<LocalWorld>(); }};
}
WorldKind tcp_world() { return provider_world("tcp", Way::kTcp); }
WorldKind tcp_key_world() {
  std::array<std::byte, kKeyBytes> bytes{};
  bytes.fill(std::byte{0x5A});
  return provider_world("tcp_with_key", Way::kTcp, PresharedKey(bytes));
}
WorldKind unix_world() { return provider_world("unix", Way::kUnix); }
WorldKind shm_world() { return provider_world("shm", Way::kShm); }

}  // namespace rram::test
