// Where a provider is, as a person writes it:
//   tcp://HOST[:PORT]   unix://PATH   verbs://HOST[:PORT]   local:SIZE   HOST[:PORT]
//   null:SIZE  (a benchmark tool: as large as it says, keeps nothing)
// HOST is a name, an IPv4 address, or an IPv6 address in brackets; or several of them, one for each
// NIC of the same host, with slashes between: verbs://node1-ib0/node1-ib1. Without a scheme the
// requester chooses: same host, then verbs, then TCP.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace rram {

constexpr std::uint16_t kDefaultPort = 7470;
constexpr std::string_view kDefaultSocketPath = "/run/rram/provider.sock";

struct Endpoint {
  enum class Scheme : std::uint8_t { kAny, kTcp, kUnix, kVerbs, kLocal, kNull };
  Scheme scheme = Scheme::kAny;
  std::string host;                     // kAny, kTcp, kVerbs; without brackets
  std::vector<std::string> more_hosts;  // other addresses of the same host
  std::uint16_t port = kDefaultPort;    // kAny, kTcp, kVerbs
  std::string path;                     // kUnix
  std::uint64_t size_bytes = 0;         // kLocal, kNull

  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// kInvalidArgument with a sentence that quotes the text and says what is expected.
Result<Endpoint> parse_endpoint(std::string_view text);

// The canonical text, which parse_endpoint reads back to the same value.
std::string endpoint_text(const Endpoint& endpoint);

}  // namespace rram
