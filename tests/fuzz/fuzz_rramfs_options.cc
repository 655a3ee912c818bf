// The command line of rramfs, mount options included: one argument a line. Either a sentence that
// says what is wrong, or options that a mount can begin with.
#include <algorithm>

#include "fusefs/front/command_line.h"
#include "fusefs/front/libfuse.h"
#include "fusefs/provider_list.h"
#include "tests/fuzz/arguments.h"
#include "tests/fuzz/fuzz_input.h"

namespace rram::fuzz {
namespace {

constexpr std::uint64_t kTenMinutesMs = 600'000;

void check_providers(const std::vector<Endpoint>& providers) {
  require(!providers.empty() && providers.size() <= kMaxListedProviders);
  for (const Endpoint& provider : providers) {
    require(parse_endpoint(endpoint_text(provider)) == provider);
  }
}

void check_options(const RequesterOptions& options) {
  require(Geometry::make(options.stripe_unit_bytes).has_value());
  require(options.timeout_ms >= 100 && options.timeout_ms <= kTenMinutesMs);
  require(options.workers <= 128);
  require(!options.debug || options.foreground);
  if (options.shows_help || options.shows_version) return;
  require(!options.mountpoint.empty() && !options.fs_name.empty());
  check_providers(options.providers);
}

void ignore_words(fuse_log_level /*level*/, const char* /*format*/, va_list /*arguments*/) {}

}  // namespace
}  // namespace rram::fuzz

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  fuse_set_log_func(&rram::fuzz::ignore_words);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using rram::fuzz::require;
  const std::string_view lines = rram::fuzz::Input(data, size).text(size);
  if (lines.contains('@')) return 0;  // a list in a file of this host; see fuzz_addresses
  rram::fuzz::Arguments arguments("rramfs", lines);
  const auto options = rram::parse_command_line(arguments.count(), arguments.values());
  if (options) {
    rram::fuzz::check_options(*options);
  } else {
    require(options.error().code == rram::ErrorCode::kInvalidArgument);
    require(!options.error().message.empty());
  }
  return 0;
}
