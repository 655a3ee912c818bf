// The command line of rramfs, by libfuse's option parser.
#pragma once

#include <string_view>

#include "base/result.h"
#include "fusefs/options.h"

namespace rram {

// kInvalidArgument with one sentence.
Result<RequesterOptions> parse_command_line(int argc, char** argv);

std::string_view help_text();

}  // namespace rram
