#include "rdma/endpoint.h"

#include <gtest/gtest.h>

#include <string>

namespace rram {

namespace {

using Scheme = Endpoint::Scheme;

Endpoint parsed(std::string_view text) {
  const Result<Endpoint> endpoint = parse_endpoint(text);
  EXPECT_TRUE(endpoint.has_value()) << text << ": " << endpoint.error().message;
  return endpoint.value_or(Endpoint{});
}

void expect_refused(std::string_view text, std::string_view why) {
  const Result<Endpoint> endpoint = parse_endpoint(text);
  ASSERT_FALSE(endpoint.has_value()) << text;
  EXPECT_EQ(endpoint.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(endpoint.error().message.find(why), std::string::npos) << endpoint.error().message;
  EXPECT_NE(endpoint.error().message.find(std::string(text)), std::string::npos);
}

TEST(Endpoint, host_without_scheme_has_the_default_port) {
  const Endpoint endpoint = parsed("node1.example.org");
  EXPECT_EQ(endpoint.scheme, Scheme::kAny);
  EXPECT_EQ(endpoint.host, "node1.example.org");
  EXPECT_EQ(endpoint.port, kDefaultPort);
}

TEST(Endpoint, schemes_hosts_and_ports) {
  EXPECT_EQ(parsed("192.168.64.20:1234"),
            (Endpoint{.scheme = Scheme::kAny, .host = "192.168.64.20", .port = 1234}));
  EXPECT_EQ(parsed("tcp://10.0.0.1"), (Endpoint{.scheme = Scheme::kTcp, .host = "10.0.0.1"}));
  EXPECT_EQ(parsed("verbs://ib0:65535"),
            (Endpoint{.scheme = Scheme::kVerbs, .host = "ib0", .port = 65535}));
  EXPECT_EQ(parsed("unix:///run/rram/p.sock"),
            (Endpoint{.scheme = Scheme::kUnix, .path = "/run/rram/p.sock"}));
  EXPECT_EQ(parsed("local:2G"),
            (Endpoint{.scheme = Scheme::kLocal, .size_bytes = std::uint64_t{2} << 30}));
  EXPECT_EQ(parsed("null:1T"),
            (Endpoint{.scheme = Scheme::kNull, .size_bytes = std::uint64_t{1} << 40}));
}

TEST(Endpoint, ipv6_stands_in_brackets) {
  EXPECT_EQ(parsed("[::1]"), (Endpoint{.scheme = Scheme::kAny, .host = "::1"}));
  EXPECT_EQ(parsed("tcp://[fe80::1%eth0]:99"),
            (Endpoint{.scheme = Scheme::kTcp, .host = "fe80::1%eth0", .port = 99}));
  expect_refused("::1", "brackets");
  expect_refused("tcp://fd00::1:7470", "brackets");
  expect_refused("[::1", "bracket");
  expect_refused("[]", "IPv6");
  expect_refused("[host]", "IPv6");
  expect_refused("[::1]7470", "port");
}

TEST(Endpoint, several_hosts_stand_for_the_nics_of_one_provider) {
  const Endpoint two = parsed("verbs://ib0/ib1:7471");
  EXPECT_EQ(two.host, "ib0");
  EXPECT_EQ(two.more_hosts, std::vector<std::string>{"ib1"});
  EXPECT_EQ(two.port, 7471);
  const Endpoint three = parsed("[fd00::1]/10.0.0.1/[fd00::2]");
  EXPECT_EQ(three.more_hosts, (std::vector<std::string>{"10.0.0.1", "fd00::2"}));
  EXPECT_EQ(endpoint_text(three), "[fd00::1]/10.0.0.1/[fd00::2]:7470");
  EXPECT_EQ(parsed(endpoint_text(three)), three);
  expect_refused("tcp://a:1/b", "stands at the end");
  expect_refused("tcp://a/", "host is missing");
  expect_refused("tcp:///a", "host is missing");
  expect_refused("tcp://a//b", "host is missing");
}

TEST(Endpoint, bad_ports_are_refused) {
  for (const std::string_view text : {"host:", "host:0", "host:65536", "host:12x", "host:-1",
                                      "tcp://host: 12", "[::1]:", "[::1]:70000"}) {
    expect_refused(text, "port");
  }
}

TEST(Endpoint, bad_hosts_schemes_paths_and_sizes_are_refused) {
  expect_refused("", "empty");
  expect_refused(":7470", "host is missing");
  expect_refused("tcp://", "host is missing");
  expect_refused("host name", "host name");
  expect_refused("http://host", "'http' is no transport");
  expect_refused("unix://run/x", "begins with '/'");
  expect_refused("unix:///" + std::string(200, 'x'), "bytes");
  expect_refused("unix:///a\nb", "control character");
  expect_refused("local:", "size");
  expect_refused("local:0", "zero");
  expect_refused("local:two", "size");
  expect_refused("local", "it needs a size");
  expect_refused("null", "it needs a size");
}

TEST(Endpoint, the_canonical_text_reads_back_to_the_same_value) {
  for (const std::string_view text :
       {"host", "host:99", "[::1]:99", "tcp://10.0.0.1:7470", "tcp://[fd00::1]", "verbs://h:1",
        "unix:///tmp/s", "tcp://local", "local/null", "local:2G", "local:1536M", "local:12345",
        "null:1T"}) {
    const Endpoint endpoint = parsed(text);
    EXPECT_EQ(parsed(endpoint_text(endpoint)), endpoint) << text;
  }
  EXPECT_EQ(endpoint_text(parsed("local:2048M")), "local:2G");
  EXPECT_EQ(endpoint_text(parsed("tcp://[fd00::1]")), "tcp://[fd00::1]:7470");
}

}  // namespace

}  // namespace rram
