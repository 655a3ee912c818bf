#include "provider/admission.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cstring>

namespace rram {
namespace {

IpAddress ip(std::string_view text) { return *parse_ip_address(text); }
Cidr cidr(std::string_view text) { return *Cidr::parse(text); }

Endpoint tcp_endpoint(std::string host) {
  Endpoint endpoint;
  endpoint.scheme = Endpoint::Scheme::kTcp;
  endpoint.host = std::move(host);
  return endpoint;
}

TEST(Cidr, contains_what_its_prefix_says) {
  EXPECT_TRUE(cidr("192.168.64.0/24").contains(ip("192.168.64.255")));
  EXPECT_FALSE(cidr("192.168.64.0/24").contains(ip("192.168.65.0")));
  EXPECT_TRUE(cidr("10.0.0.0/9").contains(ip("10.127.255.255")));
  EXPECT_FALSE(cidr("10.0.0.0/9").contains(ip("10.128.0.0")));
  EXPECT_TRUE(cidr("192.168.64.35").contains(ip("192.168.64.35")));
  EXPECT_FALSE(cidr("192.168.64.35").contains(ip("192.168.64.34")));
  EXPECT_TRUE(cidr("0.0.0.0/0").contains(ip("8.8.8.8")));
  EXPECT_FALSE(cidr("0.0.0.0/0").contains(ip("fd00::1")));
  EXPECT_TRUE(cidr("fd00::/8").contains(ip("fdff::1")));
  EXPECT_FALSE(cidr("fd00::/8").contains(ip("fe80::1")));
}

TEST(Cidr, an_ipv4_peer_of_an_ipv6_socket_is_the_same_peer) {
  EXPECT_TRUE(cidr("192.168.64.0/24").contains(ip("::ffff:192.168.64.7")));
}

TEST(Cidr, what_is_no_range_is_refused_with_a_sentence) {
  for (const char* text : {"", "/8", "host", "1.2.3", "1.2.3.4/", "1.2.3.4/33", "1.2.3.4/-1",
                           "1.2.3.4/8x", "fd00::/129", "1.2.3.4/24", "1.2.3.4/24/8", "::1/0"}) {
    const Result<Cidr> parsed = Cidr::parse(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, ErrorCode::kInvalidArgument);
    EXPECT_FALSE(parsed.error().message.empty());
  }
}

TEST(Cidr, text_reads_back) {
  EXPECT_EQ(cidr("192.168.64.0/24").text(), "192.168.64.0/24");
  EXPECT_EQ(cidr("fd00::/8").text(), "fd00::/8");
  EXPECT_EQ(cidr("10.0.0.1").text(), "10.0.0.1/32");
}

TEST(Admission, addresses_that_one_host_may_take_are_one_network) {
  const auto network = [](std::string_view text) { return network_text(*parse_ip_address(text)); };
  EXPECT_EQ(network("192.168.64.35"), "192.168.64.35");
  EXPECT_EQ(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
  EXPECT_EQ(network("2001:db8:1:2::9"), network("2001:db8:1:2:ffff::"));
  EXPECT_NE(network("2001:db8:1:2::9"), network("2001:db8:1:3::9"));
}

TEST(Admission, without_anything_only_loopback_may_be_listened_on) {
  const Admission admission({}, false);
  EXPECT_TRUE(admission.check_listener(tcp_endpoint("127.0.0.1")));
  EXPECT_TRUE(admission.check_listener(tcp_endpoint("127.3.2.1")));
  EXPECT_TRUE(admission.check_listener(tcp_endpoint("::1")));
  Endpoint unix_socket;
  unix_socket.scheme = Endpoint::Scheme::kUnix;
  EXPECT_TRUE(admission.check_listener(unix_socket));
  for (const char* host : {"0.0.0.0", "::", "192.168.64.20", "::2"}) {
    const Status status = admission.check_listener(tcp_endpoint(host));
    ASSERT_FALSE(status) << host;
    EXPECT_EQ(status.error().code, ErrorCode::kRefused);
    EXPECT_NE(status.error().message.find("--allow"), std::string::npos);
    EXPECT_NE(status.error().message.find("--key-file"), std::string::npos);
  }
  EXPECT_TRUE(admission.check_peer(ip("127.0.0.1")));
  EXPECT_TRUE(admission.check_peer(ip("::ffff:127.0.0.1")));
  EXPECT_FALSE(admission.check_peer(ip("192.168.64.35")));
}

TEST(Admission, allow_admits_by_address_and_a_key_admits_all_that_can_prove_it) {
  const Admission allowing({cidr("192.168.64.0/24"), cidr("10.0.0.1")}, false);
  EXPECT_TRUE(allowing.check_listener(tcp_endpoint("0.0.0.0")));
  EXPECT_TRUE(allowing.check_peer(ip("192.168.64.35")));
  EXPECT_TRUE(allowing.check_peer(ip("10.0.0.1")));
  EXPECT_TRUE(allowing.check_peer(ip("::1")));
  EXPECT_FALSE(allowing.check_peer(ip("192.168.65.35")));
  const Admission keyed({}, true);
  EXPECT_TRUE(keyed.check_listener(tcp_endpoint("0.0.0.0")));
  EXPECT_TRUE(keyed.check_peer(ip("192.168.65.35")));
  const Admission both({cidr("192.168.64.0/24")}, true);
  EXPECT_FALSE(both.check_peer(ip("192.168.65.35")));
}

TEST(Admission, addresses_come_out_of_sockets) {
  sockaddr_storage storage{};
  sockaddr_in ipv4{};
  ipv4.sin_family = AF_INET;
  ipv4.sin_addr.s_addr = htonl(0xC0A84023);
  std::memcpy(&storage, &ipv4, sizeof ipv4);
  EXPECT_EQ(ip_address_text(*ip_address_of(storage)), "192.168.64.35");
  storage.ss_family = AF_UNIX;
  EXPECT_FALSE(ip_address_of(storage));
}

}  // namespace
}  // namespace rram
