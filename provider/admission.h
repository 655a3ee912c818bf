// Who may connect: by address, before a byte is exchanged. Pure.
//
//  * Loopback and the Unix socket are always admitted.
//  * Any other peer needs an --allow that covers its address; with a key and no --allow, every
//    address may try to prove the key.
//  * With a key, every connection must prove it: loopback too, and the Unix socket, where the
//  kernel
//    moreover names the peer's user, who must be root or this daemon's own.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "rdma/endpoint.h"

namespace rram {

// An IPv4 or IPv6 address; IPv4 lies in the range ::ffff:0:0/96, so that there is one comparison.
using IpAddress = std::array<std::uint8_t, 16>;

// The address without its port; kInvalidArgument for any other family.
Result<IpAddress> ip_address_of(const sockaddr_storage& address);
Result<IpAddress> parse_ip_address(std::string_view text);
// 127.0.0.0/8 and ::1.
bool is_loopback(const IpAddress& address);
std::string ip_address_text(const IpAddress& address);
// The address, or, of IPv6, the network of 64 bits in which a host may give itself any address.
std::string network_text(const IpAddress& address);

// A range of addresses, "192.168.64.0/24", "fd00::/8"; without a length it is one address.
class Cidr {
 public:
  // kInvalidArgument with a sentence; bits after the length must be zero.
  static Result<Cidr> parse(std::string_view text);
  [[nodiscard]] bool contains(const IpAddress& address) const;
  [[nodiscard]] std::string text() const;

 private:
  IpAddress address_{};
  unsigned prefix_bits_ = 128;  // of the 128
};

class Admission {
 public:
  Admission(std::vector<Cidr> allowed, bool has_key)
      : allowed_(std::move(allowed)), has_key_(has_key) {}

  // A listener that others could reach needs an --allow or a key. kRefused with the sentence that
  // says so. Host names are not accepted here: resolve first.
  [[nodiscard]] Status check_listener(const Endpoint& endpoint) const;

  // kRefused with a sentence for the peer.
  [[nodiscard]] Status check_peer(const IpAddress& peer) const;

 private:
  std::vector<Cidr> allowed_;
  bool has_key_;
};

}  // namespace rram
