// fault_proxy LISTEN_PORT TARGET_PORT SEED: see kUsage.
#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <optional>
#include <span>
#include <string_view>

#include "tests/faults/proxy.h"

namespace {

constexpr const char* kUsage =
    "usage: fault_proxy LISTEN_PORT TARGET_PORT SEED\n"
    "Carries connections from one port of 127.0.0.1 to another. Lines on standard input:\n"
    "  pass          from now on all is well; connections that lost bytes are reset\n"
    "  hold          nothing moves, nothing is lost\n"
    "  swallow       bytes vanish, and nobody is told\n"
    "  refuse        connections are reset, new ones too\n"
    "  delay MS      each piece waits up to MS, each direction for itself\n"
    "  cut           connections are reset; new ones go through\n"
    "  fin           one direction of each connection ends\n"
    "  flip          one bit of the next frame header of each connection changes\n"
    "  garbage       random bytes between two frames of each connection\n"
    "  truncate      each connection ends in the middle of what it sends\n"
    "  scramble      one bit of each connection changes, anywhere\n"
    "  after N LINE  obeys LINE when N more bytes have gone through\n"
    "  count         nothing\n"
    "Each line is answered with \"ok CONNECTIONS HARMS\". It ends with its standard input.\n";

template <typename Number>
std::optional<Number> parse(std::string_view text) {
  Number value = 0;
  const auto [end, error] = std::from_chars(text.begin(), text.end(), value);
  if (error != std::errc{} || end != text.end()) return std::nullopt;
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  const std::span<char*> words(argv, static_cast<std::size_t>(argc));
  std::optional<std::uint16_t> listen_port;
  std::optional<std::uint16_t> target_port;
  std::optional<std::uint64_t> seed;
  if (words.size() == 4) {
    listen_port = parse<std::uint16_t>(words[1]);
    target_port = parse<std::uint16_t>(words[2]);
    seed = parse<std::uint64_t>(words[3]);
  }
  if (!listen_port || !target_port || !seed) {
    fmt::print(stderr, "{}", kUsage);
    return 2;
  }
  rram::Result<rram::faults::Proxy> proxy =
      rram::faults::Proxy::listen({*listen_port, *target_port, *seed});
  if (!proxy) {
    fmt::print(stderr, "fault_proxy: {}\n", proxy.error().message);
    return 1;
  }
  fmt::print("ready\n");
  std::fflush(stdout);
  proxy->run(STDIN_FILENO);
  return 0;
}
