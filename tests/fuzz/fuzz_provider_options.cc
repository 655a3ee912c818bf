// The command line of rram-provider: one argument a line. Either said and done with (help, version,
// a mistake of form), or a sentence that says what is wrong, or options that a provider can begin
// with.
#include "provider/command_line.h"
#include "rdma/wire/frames.h"
#include "tests/fuzz/arguments.h"
#include "tests/fuzz/fuzz_input.h"

namespace rram::fuzz {
namespace {

void check_server(const ServerOptions& server) {
  require(server.grace_ms <= kMaxGraceMs);
  require(server.workers <= 128);
  require(server.listens_everywhere || !server.listen.empty());
  for (const Endpoint& endpoint : server.listen) {
    const bool is_network =
        endpoint.scheme == Endpoint::Scheme::kTcp || endpoint.scheme == Endpoint::Scheme::kVerbs;
    require(is_network || endpoint.scheme == Endpoint::Scheme::kUnix);
    // Nobody listens on several addresses at once: each is named by a --listen of its own.
    require(endpoint.more_hosts.empty());
    if (is_network) require(parse_endpoint(endpoint_text(endpoint)) == endpoint);
  }
}

}  // namespace
}  // namespace rram::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using rram::fuzz::require;
  const std::string_view lines = rram::fuzz::Input(data, size).text(size);
  if (lines.contains("--key-file")) return 0;  // a file of this host; see fuzz_key_text
  rram::fuzz::Arguments arguments("rram-provider", lines);
  const auto line = rram::parse_command_line(arguments.count(), arguments.values());
  if (!line) {
    require(!line.error().message.empty());
  } else if (line->action == rram::CommandLine::Action::kServe) {
    rram::fuzz::check_server(line->server);
  } else if (line->action == rram::CommandLine::Action::kShowStatus) {
    require(rram::parse_endpoint(rram::endpoint_text(line->status_of)) == line->status_of);
  }
  return 0;
}
