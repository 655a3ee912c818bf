// What `rram-provider` was asked to do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "provider/server.h"
#include "rdma/endpoint.h"

namespace rram {

struct CommandLine {
  enum class Action : std::uint8_t {
    kServe,
    kShowStatus,   // of the provider at status_of
    kGenerateKey,  // print one
    kExit,         // --help, --version, or a mistake: all is said, exit_status is set
  };
  Action action = Action::kServe;
  int exit_status = 0;
  Endpoint status_of;
  ServerOptions server;  // without log and on_progress
};

// Prints help, version and mistakes of form itself. Errors: a value that makes no sense, with a
// sentence.
Result<CommandLine> parse_command_line(int argc, char** argv);

}  // namespace rram
