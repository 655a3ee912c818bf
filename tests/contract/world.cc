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
#include "rdma/connector.h"
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

enum class Way : std::uint8_t { kTcp, kUnix, kShm, kVerbs };

std::string verbs_address() {
  const char* address = std::getenv("RRAM_TEST_VERBS_ADDRESS");
  return address == nullptr ? "" : address;
}

Task<Result<std::unique_ptr<HeldLease>>> take_by_verbs(EventLoop& loop, Endpoint endpoint,
                                                       LeaseOptions options) {
  Result<ConnectedLease> connected =
      co_await connect_lease(loop, std::move(endpoint), std::move(options));
  if (!connected) co_return std::unexpected(connected.error());
  co_return std::move(connected->lease);
}

PresharedKey some_key() {
  std::array<std::byte, kKeyBytes> bytes{};
  bytes.fill(std::byte{0x5A});
  return PresharedKey(bytes);
}

// A real provider in this process, with threads of its own.
class ProviderWorld final : public World {
 public:
  // `records_before_renewal`: set: with tls.
  ProviderWorld(Way way, std::optional<PresharedKey> key,
                std::optional<std::uint64_t> records_before_renewal)
      : way_(way), key_(std::move(key)), records_before_renewal_(records_before_renewal) {
    if (way == Way::kUnix || way == Way::kShm) {
      endpoint_.scheme = Endpoint::Scheme::kUnix;
      endpoint_.path = (folder_.path() / "provider.sock").string();
    } else {
      endpoint_.scheme = way == Way::kTcp ? Endpoint::Scheme::kTcp : Endpoint::Scheme::kVerbs;
      endpoint_.host = way == Way::kTcp ? "127.0.0.1" : verbs_address();
      endpoint_.port = 0;
    }
    if (obstacle().empty()) start();
  }

  [[nodiscard]] std::string obstacle() const override {
    const bool is_missing = way_ == Way::kVerbs && verbs_address().empty();
    return is_missing ? "no RDMA device here; the lab has one" : "";
  }

  Task<Result<std::unique_ptr<HeldLease>>> take(EventLoop& loop,
                                                std::uint64_t wanted_bytes) override {
    LeaseOptions options;
    options.requester_name = "contract-test";
    options.wanted_bytes = wanted_bytes;
    options.key = key_;
    if (records_before_renewal_) {
      options.tls = true;
      options.records_before_renewal = *records_before_renewal_;
    }
    if (way_ == Way::kShm) return ShmLease::take(loop, endpoint_, std::move(options));
    if (way_ == Way::kVerbs) return take_by_verbs(loop, endpoint_, std::move(options));
    return TcpLease::take(loop, endpoint_, std::move(options));
  }

  [[nodiscard]] bool renews_lanes() const override {
    return records_before_renewal_.value_or(kRecordsBeforeRenewal) < kRecordsBeforeRenewal;
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
    options.require_tls = records_before_renewal_.has_value();
    if (way_ == Way::kVerbs) options.allow = {Cidr::parse(endpoint_.host).value()};
    options.workers = 2;
    Result<std::unique_ptr<ProviderServer>> server = ProviderServer::start(std::move(options));
    ASSERT_TRUE(server.has_value()) << server.error().message;
    server_ = std::move(*server);
    endpoint_ = server_->endpoints().front();
  }

  TemporaryFolder folder_;
  Way way_;
  std::optional<PresharedKey> key_;
  std::optional<std::uint64_t> records_before_renewal_;
  Endpoint endpoint_;
  std::unique_ptr<ProviderServer> server_;
};

WorldKind provider_world(std::string name, Way way, const std::optional<PresharedKey>& key = {},
                         std::optional<std::uint64_t> records_before_renewal = {}) {
  return {std::move(name),
          [=] { return std::make_unique<ProviderWorld>(way, key, records_before_renewal); }};
}

}  // namespace

WorldKind local_world() {
  return {"local", [] { return std::make_unique<LocalWorld>(); }};
}
WorldKind tcp_world() { return provider_world("tcp", Way::kTcp); }
WorldKind tcp_key_world() { return provider_world("tcp_with_key", Way::kTcp, some_key()); }
WorldKind tcp_tls_world() {
  return provider_world("tcp_with_tls", Way::kTcp, some_key(), kRecordsBeforeRenewal);
}
WorldKind tcp_renewing_world() {
  constexpr std::uint64_t kFewRecords = 5;
  return provider_world("tcp_with_tls_and_short_keys", Way::kTcp, some_key(), kFewRecords);
}
WorldKind unix_world() { return provider_world("unix", Way::kUnix); }
WorldKind verbs_world() { return provider_world("verbs", Way::kVerbs); }
WorldKind verbs_key_world() { return provider_world("verbs_with_key", Way::kVerbs, some_key()); }
WorldKind shm_world() { return provider_world("shm", Way::kShm); }

}  // namespace rram::test
