// The only file that includes CLI11, which takes long to compile.
#include "provider/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <utility>
#include <vector>

#include "base/size_text.h"
#include "rdma/session/preshared_key.h"
#include "rdma/wire/frames.h"

#ifndef RRAM_VERSION
#define RRAM_VERSION "unknown"
#endif

namespace rram {

namespace {

// The words as they were written.
struct Words {
  std::string size;
  std::vector<std::string> listen;
  std::string unix_path = std::string(kDefaultSocketPath);
  bool no_unix = false;
  std::vector<std::string> allow;
  std::string key_file;
  bool require_tls = false;
  std::string huge_pages = "auto";
  std::string name;
  std::string rdma_device;
  unsigned workers = 0;
  std::string grace = "2s";
  std::string status_of;
  bool generate_key = false;
};

void describe(CLI::App& app, Words& words) {
  app.add_option("--size", words.size, "Memory to lend: 1G, 512M, 1.5T (K M G T)")
      ->type_name("SIZE");
  app.add_option(
         "--listen", words.listen,
         "RDMA or TCP address; repeatable [with --allow or --key-file every address, by RDMA "
         "and TCP, port 7470; else tcp://127.0.0.1:7470]")
      ->type_name("verbs://HOST[:PORT]|tcp://HOST[:PORT]");
  app.add_option("--unix", words.unix_path, "Unix socket for requesters on this host")
      ->type_name("PATH")
      ->capture_default_str();
  app.add_flag("--no-unix", words.no_unix, "No Unix socket");
  app.add_option("--allow", words.allow, "Addresses that may connect; repeatable")
      ->type_name("CIDR");
  app.add_option("--key-file", words.key_file, "Every connection must prove this key")
      ->type_name("FILE");
  app.add_flag("--require-tls", words.require_tls,
               "Refuse TCP connections that are not encrypted, and RDMA (needs --key-file)");
  app.add_option("--device", words.rdma_device, "The only RDMA device to serve on [any]")
      ->type_name("NAME");
  app.add_option("--hugepages", words.huge_pages,
                 "Reserved huge pages: if there are enough of them")
      ->type_name("auto|on|off")
      ->check(CLI::IsMember({"auto", "on", "off"}))
      ->capture_default_str();
  app.add_option("--name", words.name, "Name of this provider in messages [the host's name]")
      ->type_name("NAME");
  app.add_option("--workers", words.workers, "Threads that serve [one a CPU, and on it]")
      ->type_name("N")
      ->check(CLI::Range(1, 128));
  app.add_option("--grace", words.grace,
                 "How long a lease outlives the connections of its requester")
      ->type_name("TIME")
      ->capture_default_str();
  app.add_option("--status", words.status_of,
                 "Print the counters of a running provider as JSON [unix://" +
                     std::string(kDefaultSocketPath) + "]")
      ->type_name("ADDRESS")
      ->expected(0, 1);
  app.add_flag("--generate-key", words.generate_key, "Print a new key for a key file");
  app.set_version_flag("--version", "rram-provider " RRAM_VERSION);
}

Result<Endpoint> parse_listen(const std::string& text) {
  Result<Endpoint> endpoint = parse_endpoint(text);
  if (!endpoint) return endpoint;
  if (!endpoint->more_hosts.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("--listen {}: one address for each --listen; repeat the option", text));
  }
  if (endpoint->scheme == Endpoint::Scheme::kAny) endpoint->scheme = Endpoint::Scheme::kTcp;
  if (endpoint->scheme == Endpoint::Scheme::kTcp || endpoint->scheme == Endpoint::Scheme::kVerbs) {
    return endpoint;
  }
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("--listen {}: write verbs://HOST[:PORT] or tcp://HOST[:PORT]; for a Unix "
                          "socket use --unix",
                          text));
}

Status fill_addresses(const Words& words, ServerOptions& server) {
  for (const std::string& text : words.listen) {
    Result<Endpoint> endpoint = parse_listen(text);
    if (!endpoint) return std::unexpected(endpoint.error());
    server.listen.push_back(std::move(*endpoint));
  }
  server.rdma_device = words.rdma_device;
  const bool others_may_come = !words.allow.empty() || !words.key_file.empty();
  server.listens_everywhere = words.listen.empty() && others_may_come;
  if (words.listen.empty() && !others_may_come) {
    Endpoint loopback;
    loopback.scheme = Endpoint::Scheme::kTcp;
    loopback.host = "127.0.0.1";
    server.listen.push_back(std::move(loopback));
  }
  if (!words.no_unix) {
    Endpoint socket;
    socket.scheme = Endpoint::Scheme::kUnix;
    socket.path = words.unix_path;
    server.listen.push_back(std::move(socket));
  }
  for (const std::string& text : words.allow) {
    Result<Cidr> range = Cidr::parse(text);
    if (!range) {
      return fail(range.error().code, fmt::format("--allow {}", range.error().message));
    }
    server.allow.push_back(*range);
  }
  return {};
}

Status fill_server(const Words& words, ServerOptions& server) {
  if (words.size.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "say how much memory to lend, for example --size 1G (see --help)");
  }
  const Result<std::uint64_t> size_bytes = parse_size_bytes(words.size);
  if (!size_bytes) return std::unexpected(size_bytes.error());
  server.size_bytes = *size_bytes;
  const Result<std::uint64_t> grace_ms = parse_duration_ms(words.grace);
  if (!grace_ms) return std::unexpected(grace_ms.error());
  if (*grace_ms > kMaxGraceMs) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("--grace {}: at most {} s", words.grace, kMaxGraceMs / 1000));
  }
  server.grace_ms = *grace_ms;
  if (words.huge_pages == "on") server.huge_pages = HugePages::kOn;
  if (words.huge_pages == "off") server.huge_pages = HugePages::kOff;
  server.name = words.name;
  server.workers = words.workers;
  server.require_tls = words.require_tls;
  return fill_addresses(words, server);
}

}  // namespace

Result<CommandLine> parse_command_line(int argc, char** argv) {
  CLI::App app(
      "Lends pinned memory of this host to the rramfs mounts of other hosts, or of this one.",
      "rram-provider");
  Words words;
  describe(app, words);
  CommandLine line;
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    line.action = CommandLine::Action::kExit;
    if (error.get_exit_code() == 0) {
      line.exit_status = app.exit(error);
    } else {
      fmt::print(stderr, "rram-provider: {} (see --help)\n", error.what());
      line.exit_status = 2;
    }
    return line;
  }
  if (words.generate_key) {
    line.action = CommandLine::Action::kGenerateKey;
    return line;
  }
  if (!words.key_file.empty()) {
    Result<PresharedKey> key = load_key_file(words.key_file);
    if (!key) return std::unexpected(key.error());
    line.server.key = *key;
  }
  if (app.count("--status") > 0) {
    line.action = CommandLine::Action::kShowStatus;
    const std::string address =
        words.status_of.empty() ? fmt::format("unix://{}", kDefaultSocketPath) : words.status_of;
    Result<Endpoint> endpoint = parse_endpoint(address);
    if (!endpoint) return std::unexpected(endpoint.error());
    line.status_of = std::move(*endpoint);
    return line;
  }
  const Status filled = fill_server(words, line.server);
  if (!filled) return std::unexpected(filled.error());
  return line;
}

}  // namespace rram
