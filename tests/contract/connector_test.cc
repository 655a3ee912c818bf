// connect_lease(): which transport is taken, and what a person reads when there is none.
#include "rdma/connector.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/fd.h"
#include "provider/server.h"
#include "tests/contract/run_task.h"
#include "tests/loopback.h"

namespace rram::test {

namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

PresharedKey key_of(std::uint8_t value) {
  std::array<std::byte, kKeyBytes> bytes{};
  bytes.fill(std::byte{value});
  return PresharedKey(bytes);
}

bool has_text(const std::string& message, const std::string& text) {
  return message.find(text) != std::string::npos;
}

// A port on loopback: bound, and listening if wanted, but nobody accepts.
struct SilentPort {
  explicit SilentPort(bool listening) : socket(bind_on_loopback()), endpoint(socket.endpoint()) {
    if (listening) {
      EXPECT_EQ(::listen(socket.fd.get(), 8), 0);
    }
  }
  LoopbackSocket socket;
  Endpoint endpoint;
};

class Connector : public testing::Test {
 protected:
  void SetUp() override {
    loop_ = make_loop();
    path_ = (std::filesystem::temp_directory_path() /
             ("rram-connector-" + std::to_string(::getpid()) + ".sock"))
                .string();
  }
  void TearDown() override { std::filesystem::remove(path_); }

  void start_provider(std::optional<PresharedKey> key) {
    ServerOptions options;
    options.name = "connector-provider";
    options.size_bytes = 16 * kMiB;
    options.huge_pages = HugePages::kOff;
    options.lock_memory = false;
    Endpoint tcp;
    tcp.scheme = Endpoint::Scheme::kTcp;
    tcp.host = "127.0.0.1";
    tcp.port = 0;
    Endpoint local;
    local.scheme = Endpoint::Scheme::kUnix;
    local.path = path_;
    options.listen = {tcp, local};
    options.key = std::move(key);
    options.workers = 1;
    auto server = ProviderServer::start(std::move(options));
    ASSERT_TRUE(server.has_value()) << server.error().message;
    server_ = std::move(*server);
    tcp_ = server_->endpoints().front();
    unix_ = local;
  }

  Result<ConnectedLease> connect_with_tls(const Endpoint& endpoint,
                                          std::optional<PresharedKey> key) {
    LeaseOptions options;
    options.requester_name = "connector-test";
    options.key = std::move(key);
    options.tls = true;
    options.wanted_bytes = 2 * kMiB;
    return run_task(*loop_, connect_lease(*loop_, endpoint, options));
  }
  Result<ConnectedLease> connect(const Endpoint& endpoint, std::optional<PresharedKey> key = {},
                                 std::uint64_t wanted_bytes = 0, std::uint64_t timeout_ms = 5'000) {
    LeaseOptions options;
    options.requester_name = "connector-test";
    options.key = std::move(key);
    options.wanted_bytes = wanted_bytes;
    options.timeout_ms = timeout_ms;
    return run_task(*loop_, connect_lease(*loop_, endpoint, options));
  }
  void release(const Result<ConnectedLease>& connected) {
    run_task(*loop_, connected->lease->release(5'000));
  }
  void expect_failure(const Result<ConnectedLease>& connected, ErrorCode code,
                      const std::string& text) {
    ASSERT_FALSE(connected.has_value());
    EXPECT_EQ(connected.error().code, code) << connected.error().message;
    EXPECT_TRUE(has_text(connected.error().message, text)) << connected.error().message;
  }

  std::unique_ptr<EventLoop> loop_;
  std::string path_;
  std::unique_ptr<ProviderServer> server_;
  Endpoint tcp_;
  Endpoint unix_;
};

TEST_F(Connector, each_scheme_takes_its_transport) {
  start_provider({});
  const auto by_tcp = connect(tcp_, {}, 2 * kMiB);
  ASSERT_TRUE(by_tcp.has_value()) << by_tcp.error().message;
  EXPECT_EQ(by_tcp->lease->transport_name(), "tcp");
  EXPECT_TRUE(has_text(by_tcp->lease->provider_text(), "connector-provider"));
  EXPECT_TRUE(by_tcp->notes.empty());
  const auto by_unix = connect(unix_, {}, 2 * kMiB);
  ASSERT_TRUE(by_unix.has_value()) << by_unix.error().message;
  EXPECT_EQ(by_unix->lease->transport_name(), "shm");
  release(by_tcp);
  release(by_unix);
  for (const std::string_view text : {"local:4M", "null:4M"}) {
    const auto here = connect(*parse_endpoint(text));
    ASSERT_TRUE(here.has_value());
    EXPECT_TRUE(text.starts_with(here->lease->transport_name()));
    EXPECT_EQ(here->lease->size_bytes(), 4 * kMiB);
  }
}

TEST_F(Connector, without_a_scheme_it_says_what_it_took_and_why_not_the_others) {
  start_provider({});
  Endpoint any = tcp_;
  any.scheme = Endpoint::Scheme::kAny;
  for (const std::string host : {"127.0.0.1", "localhost"}) {
    any.host = host;
    const auto connected = connect(any);
    ASSERT_TRUE(connected.has_value()) << connected.error().message;
    EXPECT_EQ(connected->lease->transport_name(), "tcp");
    ASSERT_EQ(connected->notes.size(), 3U);
    EXPECT_TRUE(has_text(connected->notes[0], "by tcp")) << connected->notes[0];
    EXPECT_TRUE(has_text(connected->notes[1], "not shm")) << connected->notes[1];
    EXPECT_TRUE(has_text(connected->notes[2], "not verbs")) << connected->notes[2];
    release(connected);
  }
}

TEST_F(Connector, nobody_listens) {
  const SilentPort port(false);
  expect_failure(connect(port.endpoint), ErrorCode::kRefused,
                 endpoint_text(port.endpoint) + ": connection refused: is rram-provider running");
  Endpoint no_socket;
  no_socket.scheme = Endpoint::Scheme::kUnix;
  no_socket.path = path_;
  expect_failure(connect(no_socket), ErrorCode::kNotFound, "is rram-provider running on this host");
}

TEST_F(Connector, a_silent_peer_ends_with_the_timeout) {
  const SilentPort port(true);
  const std::uint64_t begin_ns = monotonic_ns();
  expect_failure(connect(port.endpoint, {}, 0, 300), ErrorCode::kTimedOut,
                 endpoint_text(port.endpoint));
  EXPECT_LT(monotonic_ns() - begin_ns, 2'000'000'000U);
}

TEST_F(Connector, verbs_is_refused_with_a_way_out) {
  const auto connected = connect(*parse_endpoint("verbs://127.0.0.1"));
  ASSERT_FALSE(connected.has_value());
  EXPECT_TRUE(has_text(connected.error().message, "RDMA")) << connected.error().message;
  EXPECT_TRUE(has_text(connected.error().message, "tcp://")) << connected.error().message;
}

TEST_F(Connector, more_than_there_is_says_how_much_there_is) {
  start_provider({});
  expect_failure(connect(tcp_, {}, 64 * kMiB), ErrorCode::kNoSpace, "16.0 MiB");
  expect_failure(connect(*parse_endpoint("local:4M"), {}, 8 * kMiB), ErrorCode::kNoSpace,
                 "local:4M");
}

TEST_F(Connector, keys) {
  start_provider(key_of(1));
  const auto right = connect(tcp_, key_of(1), 2 * kMiB);
  ASSERT_TRUE(right.has_value()) << right.error().message;
  release(right);
  expect_failure(connect(tcp_, key_of(2), 2 * kMiB), ErrorCode::kRefused, endpoint_text(tcp_));
  expect_failure(connect(tcp_, {}, 2 * kMiB), ErrorCode::kRefused, "requires a key");
  expect_failure(connect(unix_, {}, 2 * kMiB), ErrorCode::kRefused, "requires a key");
  const auto shared = connect(unix_, key_of(1), 2 * kMiB);
  ASSERT_TRUE(shared.has_value()) << shared.error().message;
  EXPECT_EQ(shared->lease->transport_name(), "shm");
  release(shared);
}

TEST_F(Connector, tls_goes_by_tcp_alone) {
  start_provider(key_of(1));
  const auto named = connect_with_tls(tcp_, key_of(1));
  ASSERT_TRUE(named.has_value()) << named.error().message;
  EXPECT_EQ(named->lease->transport_name(), "tcp with tls");
  release(named);
  Endpoint any = tcp_;
  any.scheme = Endpoint::Scheme::kAny;
  const auto chosen = connect_with_tls(any, key_of(1));
  ASSERT_TRUE(chosen.has_value()) << chosen.error().message;
  EXPECT_EQ(chosen->lease->transport_name(), "tcp with tls");
  ASSERT_EQ(chosen->notes.size(), 2U);
  EXPECT_TRUE(has_text(chosen->notes[1], "tls is for TCP")) << chosen->notes[1];
  release(chosen);
  expect_failure(connect_with_tls(unix_, key_of(1)), ErrorCode::kInvalidArgument, "tls is for TCP");
  expect_failure(connect_with_tls(*parse_endpoint("verbs://127.0.0.1"), key_of(1)),
                 ErrorCode::kInvalidArgument, "tls is for TCP");
}

TEST_F(Connector, tls_needs_a_key_on_both_sides) {
  start_provider({});
  expect_failure(connect_with_tls(tcp_, {}), ErrorCode::kInvalidArgument, "key_file=");
  expect_failure(connect_with_tls(tcp_, key_of(1)), ErrorCode::kRefused, "no key");
}

TEST_F(Connector, a_key_that_the_provider_has_not_is_refused) {
  start_provider({});
  expect_failure(connect(tcp_, key_of(1), 2 * kMiB), ErrorCode::kRefused, "no key");
}

}  // namespace

}  // namespace rram::test
