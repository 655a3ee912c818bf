#include "rdma/endpoint.h"

#include <fmt/format.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <optional>
#include <utility>

#include "base/size_text.h"

namespace rram {

namespace {

using Scheme = Endpoint::Scheme;

constexpr std::string_view kLocalName = "local";
constexpr std::string_view kNullName = "null";
constexpr std::size_t kMaxHostBytes = 255;
constexpr std::size_t kMaxPathBytes = sizeof(sockaddr_un{}.sun_path) - 1;

std::unexpected<Error> refuse(std::string_view text, std::string_view why) {
  return fail(
      ErrorCode::kInvalidArgument,
      fmt::format("'{}' is no provider address: {}. Write tcp://HOST[:PORT], unix://PATH, "
                  "verbs://HOST[:PORT], local:SIZE, or HOST[:PORT]; for several NICs of one host "
                  "HOST/HOST",
                  text, why));
}

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_host_name(std::string_view host) {
  return !host.empty() && host.size() <= kMaxHostBytes && std::ranges::all_of(host, [](char c) {
    return is_letter_or_digit(c) || c == '.' || c == '-' || c == '_';
  });
}

// An IPv6 address with an optional "%interface"; whether it is a real one, getaddrinfo says later.
bool is_bracketed_host(std::string_view host) {
  return !host.empty() && host.size() <= kMaxHostBytes &&
         host.find(':') != std::string_view::npos && std::ranges::all_of(host, [](char c) {
           return is_letter_or_digit(c) || c == ':' || c == '.' || c == '%' || c == '-' || c == '_';
         });
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [rest, error] = std::from_chars(text.begin(), text.end(), port);
  if (error != std::errc{} || rest != text.end() || port == 0) return std::nullopt;
  return port;
}

struct HostAndRest {
  std::string host;
  std::string_view rest;  // ":PORT" or nothing
};

Result<HostAndRest> parse_one_host(std::string_view piece, std::string_view text) {
  if (piece.starts_with('[')) {
    const std::size_t close = piece.find(']');
    if (close == std::string_view::npos) return refuse(text, "the bracket '[' is not closed");
    const std::string_view host = piece.substr(1, close - 1);
    if (!is_bracketed_host(host)) {
      return refuse(text, "between the brackets there is no IPv6 address");
    }
    return HostAndRest{std::string(host), piece.substr(close + 1)};
  }
  const std::size_t colon = piece.find(':');
  if (colon != piece.rfind(':')) {
    return refuse(text, "an IPv6 address stands in brackets, as in [fd00::1]:7470");
  }
  const std::string_view host = piece.substr(0, colon);
  if (host.empty()) return refuse(text, "the host is missing");
  if (!is_host_name(host)) {
    return refuse(text, fmt::format("'{}' is no host name or address", host));
  }
  return HostAndRest{std::string(host),
                     colon == std::string_view::npos ? std::string_view{} : piece.substr(colon)};
}

Result<Endpoint> parse_hosts(Scheme scheme, std::string_view hosts_and_port,
                             std::string_view text) {
  Endpoint endpoint;
  endpoint.scheme = scheme;
  for (bool is_last = false; !is_last;) {
    const std::size_t slash = hosts_and_port.find('/');
    is_last = slash == std::string_view::npos;
    Result<HostAndRest> parsed = parse_one_host(hosts_and_port.substr(0, slash), text);
    if (!parsed) return std::unexpected(parsed.error());
    if (endpoint.host.empty()) {
      endpoint.host = std::move(parsed->host);
    } else {
      endpoint.more_hosts.push_back(std::move(parsed->host));
    }
    if (!is_last) hosts_and_port.remove_prefix(slash + 1);
    if (parsed->rest.empty()) continue;
    if (!is_last) return refuse(text, "the port, one for all addresses, stands at the end");
    const std::optional<std::uint16_t> port =
        parsed->rest.front() == ':' ? parse_port(parsed->rest.substr(1)) : std::nullopt;
    if (!port) return refuse(text, "the port is a number from 1 to 65535");
    endpoint.port = *port;
  }
  return endpoint;
}

Result<Endpoint> parse_path(std::string_view path, std::string_view text) {
  if (!path.starts_with('/')) return refuse(text, "the socket's path begins with '/'");
  if (path.size() > kMaxPathBytes) {
    return refuse(text, fmt::format("a socket's path has at most {} bytes", kMaxPathBytes));
  }
  const bool has_control = std::ranges::any_of(
      path, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; });
  if (has_control) return refuse(text, "the path has a control character");
  Endpoint endpoint;
  endpoint.scheme = Scheme::kUnix;
  endpoint.path = path;
  return endpoint;
}

Result<Endpoint> parse_size(Scheme scheme, std::string_view size, std::string_view text) {
  const Result<std::uint64_t> size_bytes = parse_size_bytes(size);
  if (!size_bytes) return refuse(text, size_bytes.error().message);
  if (*size_bytes == 0) return refuse(text, "the size is zero");
  Endpoint endpoint;
  endpoint.scheme = scheme;
  endpoint.size_bytes = *size_bytes;
  return endpoint;
}

// In the largest unit that leaves no rest, so that it reads back exactly.
std::string exact_size_text(std::uint64_t size_bytes) {
  constexpr std::array<std::string_view, 5> kUnits = {"", "K", "M", "G", "T"};
  std::size_t unit = 0;
  while (size_bytes != 0 && size_bytes % 1024 == 0 && unit + 1 < kUnits.size()) {
    size_bytes /= 1024;
    ++unit;
  }
  return fmt::format("{}{}", size_bytes, kUnits.at(unit));
}

std::string one_host_text(const std::string& host) {
  const bool is_ipv6 = host.find(':') != std::string::npos;
  return is_ipv6 ? fmt::format("[{}]", host) : host;
}

std::string hosts_text(const Endpoint& endpoint) {
  std::string hosts = one_host_text(endpoint.host);
  for (const std::string& host : endpoint.more_hosts) hosts += "/" + one_host_text(host);
  return fmt::format("{}:{}", hosts, endpoint.port);
}

}  // namespace

Result<Endpoint> parse_endpoint(std::string_view text) {
  const auto after = [text](std::string_view prefix) -> std::optional<std::string_view> {
    if (!text.starts_with(prefix)) return std::nullopt;
    return text.substr(prefix.size());
  };
  if (text.empty()) return refuse(text, "it is empty");
  if (const auto rest = after("tcp://")) return parse_hosts(Scheme::kTcp, *rest, text);
  if (const auto rest = after("verbs://")) return parse_hosts(Scheme::kVerbs, *rest, text);
  if (const auto rest = after("unix://")) return parse_path(*rest, text);
  if (const auto rest = after("local:")) return parse_size(Scheme::kLocal, *rest, text);
  if (const auto rest = after("null:")) return parse_size(Scheme::kNull, *rest, text);
  const std::size_t scheme_end = text.find("://");
  if (scheme_end != std::string_view::npos) {
    return refuse(text, fmt::format("'{}' is no transport", text.substr(0, scheme_end)));
  }
  // With its port such a host would read as memory of so many bytes.
  if (text == kLocalName || text == kNullName) {
    return refuse(text, fmt::format("it needs a size, as in {0}:2G; a host of that name is "
                                    "tcp://{0} or verbs://{0}",
                                    text));
  }
  return parse_hosts(Scheme::kAny, text, text);
}

std::string endpoint_text(const Endpoint& endpoint) {
  switch (endpoint.scheme) {
    case Scheme::kAny:
      return hosts_text(endpoint);
    case Scheme::kTcp:
      return fmt::format("tcp://{}", hosts_text(endpoint));
    case Scheme::kVerbs:
      return fmt::format("verbs://{}", hosts_text(endpoint));
    case Scheme::kUnix:
      return fmt::format("unix://{}", endpoint.path);
    case Scheme::kLocal:
      return fmt::format("local:{}", exact_size_text(endpoint.size_bytes));
    case Scheme::kNull:
      return fmt::format("null:{}", exact_size_text(endpoint.size_bytes));
  }
  assert(false);
  return {};
}

}  // namespace rram
