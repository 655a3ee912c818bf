#include "provider/admission.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace rram {

namespace {

constexpr std::array<std::uint8_t, 12> kIpv4Prefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr unsigned kIpv4PrefixBits = 96;

bool is_ipv4(const IpAddress& address) {
  return std::equal(kIpv4Prefix.begin(), kIpv4Prefix.end(), address.begin());
}

IpAddress from_ipv4(const in_addr& ipv4) {
  IpAddress address{};
  std::ranges::copy(kIpv4Prefix, address.begin());
  std::memcpy(address.data() + kIpv4Prefix.size(), &ipv4, sizeof ipv4);
  return address;
}

IpAddress from_ipv6(const in6_addr& ipv6) {
  IpAddress address{};
  std::memcpy(address.data(), &ipv6, sizeof ipv6);
  return address;
}

bool bit_of(const IpAddress& address, unsigned bit) {
  return (address.at(bit / 8) >> (7 - bit % 8) & 1) != 0;
}

}  // namespace

Result<IpAddress> ip_address_of(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    sockaddr_in ipv4{};
    std::memcpy(&ipv4, &address, sizeof ipv4);
    return from_ipv4(ipv4.sin_addr);
  }
  if (address.ss_family == AF_INET6) {
    sockaddr_in6 ipv6{};
    std::memcpy(&ipv6, &address, sizeof ipv6);
    return from_ipv6(ipv6.sin6_addr);
  }
  return fail(ErrorCode::kInvalidArgument, "the peer has no IP address");
}

Result<IpAddress> parse_ip_address(std::string_view text) {
  const std::string copy(text);  // inet_pton wants a NUL
  in_addr ipv4{};
  if (::inet_pton(AF_INET, copy.c_str(), &ipv4) == 1) return from_ipv4(ipv4);
  in6_addr ipv6{};
  if (::inet_pton(AF_INET6, copy.c_str(), &ipv6) == 1) return from_ipv6(ipv6);
  return fail(ErrorCode::kInvalidArgument, fmt::format("'{}' is no IPv4 or IPv6 address", text));
}

bool is_loopback(const IpAddress& address) {
  if (is_ipv4(address)) return address.at(kIpv4Prefix.size()) == 127;
  IpAddress one{};
  one.back() = 1;
  return address == one;
}

std::string ip_address_text(const IpAddress& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (is_ipv4(address)) {
    ::inet_ntop(AF_INET, address.data() + kIpv4Prefix.size(), text.data(), text.size());
  } else {
    ::inet_ntop(AF_INET6, address.data(), text.data(), text.size());
  }
  return text.data();
}

std::string network_text(const IpAddress& address) {
  if (is_ipv4(address)) return ip_address_text(address);
  constexpr std::size_t kNetworkBytes = 8;
  IpAddress network = address;
  std::fill(network.begin() + kNetworkBytes, network.end(), 0);
  return ip_address_text(network) + "/64";
}

Result<Cidr> Cidr::parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  const Result<IpAddress> address = parse_ip_address(text.substr(0, slash));
  if (!address) return std::unexpected(address.error());
  Cidr cidr;
  cidr.address_ = *address;
  if (slash == std::string_view::npos) return cidr;
  const unsigned base_bits = is_ipv4(*address) ? kIpv4PrefixBits : 0;
  const std::string_view length_text = text.substr(slash + 1);
  unsigned length_bits = 0;
  const auto [end, error] = std::from_chars(length_text.begin(), length_text.end(), length_bits);
  if (error != std::errc{} || end != length_text.end() || length_bits > 128 - base_bits) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("'{}': the length after '/' must be 0 to {}", text, 128 - base_bits));
  }
  cidr.prefix_bits_ = base_bits + length_bits;
  for (unsigned bit = cidr.prefix_bits_; bit < 128; ++bit) {
    if (bit_of(*address, bit)) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("'{}' has bits set after its length of {}; for one host leave out "
                              "the '/{}'",
                              text, length_bits, length_bits));
    }
  }
  return cidr;
}

bool Cidr::contains(const IpAddress& address) const {
  for (unsigned bit = 0; bit < prefix_bits_; ++bit) {
    if (bit_of(address, bit) != bit_of(address_, bit)) return false;
  }
  return true;
}

std::string Cidr::text() const {
  const unsigned base_bits = is_ipv4(address_) ? kIpv4PrefixBits : 0;
  return fmt::format("{}/{}", ip_address_text(address_), prefix_bits_ - base_bits);
}

Status Admission::check_listener(const Endpoint& endpoint) const {
  if (endpoint.scheme == Endpoint::Scheme::kUnix || has_key_ || !allowed_.empty()) return {};
  const Result<IpAddress> address = parse_ip_address(endpoint.host);
  if (address && is_loopback(*address)) return {};
  return fail(ErrorCode::kRefused,
              fmt::format("{} can be reached from other hosts, and then everybody could take this "
                          "memory: say who may with --allow CIDR, or give a key with --key-file",
                          endpoint_text(endpoint)));
}

Status Admission::check_peer(const IpAddress& peer) const {
  if (is_loopback(peer)) return {};
  const bool is_allowed =
      std::ranges::any_of(allowed_, [&](const Cidr& range) { return range.contains(peer); });
  if (is_allowed || (allowed_.empty() && has_key_)) return {};
  return fail(ErrorCode::kRefused,
              fmt::format("address {} is not admitted by this provider; its --allow must name it",
                          ip_address_text(peer)));
}

}  // namespace rram
