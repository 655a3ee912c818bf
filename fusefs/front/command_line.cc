#include "fusefs/front/command_line.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include "base/size_text.h"
#include "fusefs/front/libfuse.h"
#include "fusefs/provider_list.h"
#include "rdma/connector.h"

namespace rram {

namespace {

constexpr std::uint64_t kMinTimeoutMs = 100;
constexpr std::uint64_t kMaxTimeoutMs = 10 * 60 * 1000;
constexpr unsigned kMaxWorkers = 128;
constexpr std::uint64_t kMinMetadataBytes = std::uint64_t{1} << 20;

// What the parser's callback works on.
struct Parsing {
  RequesterOptions options;
  Status status;
  // libfuse takes options apart at commas, those inside a range of hosts too: its parts until the
  // bracket closes.
  std::string open_range;
};

Status set_stripe(RequesterOptions& options, std::string_view value) {
  const Result<std::uint64_t> size = parse_size_bytes(value);
  if (!size) return std::unexpected(size.error());
  if (const Result<Geometry> geometry = Geometry::make(*size); !geometry) {
    return std::unexpected(geometry.error());
  }
  options.stripe_unit_bytes = *size;
  return {};
}

Status set_size(RequesterOptions& options, std::string_view value) {
  const Result<std::uint64_t> size = parse_size_bytes(value);
  if (!size) return std::unexpected(size.error());
  if (*size == 0) return fail(ErrorCode::kInvalidArgument, "size=0: a volume needs room");
  options.size_bytes = *size;
  return {};
}

Status set_metadata(RequesterOptions& options, std::string_view value) {
  const Result<std::uint64_t> size = parse_size_bytes(value);
  if (!size) return std::unexpected(size.error());
  if (*size < kMinMetadataBytes) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("metadata={} is less than {}", value, size_text(kMinMetadataBytes)));
  }
  options.metadata_bytes = *size;
  return {};
}

Status set_timeout(RequesterOptions& options, std::string_view value) {
  const Result<std::uint64_t> timeout_ms = parse_duration_ms(value);
  if (!timeout_ms) return std::unexpected(timeout_ms.error());
  if (*timeout_ms < kMinTimeoutMs || *timeout_ms > kMaxTimeoutMs) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("timeout={} is not between 100ms and 10m", value));
  }
  options.timeout_ms = *timeout_ms;
  return {};
}

// "auto", "off", or microseconds: "20us".
Status set_poll(RequesterOptions& options, std::string_view value) {
  constexpr std::uint64_t kMaxPollUs = 10'000;
  if (value == "auto") {
    options.poll_ns.reset();
    return {};
  }
  std::string_view number = value == "off" ? "0" : value;
  if (number.ends_with("us")) number.remove_suffix(2);
  std::uint64_t poll_us = 0;
  const char* end = number.data() + number.size();
  const auto [rest, error] = std::from_chars(number.data(), end, poll_us);
  if (error != std::errc{} || rest != end || poll_us > kMaxPollUs) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("poll={} is none of auto, off, and a time up to {}us", value, kMaxPollUs));
  }
  options.poll_ns = poll_us * 1000;
  return {};
}

Status set_workers(RequesterOptions& options, std::string_view value) {
  unsigned workers = 0;
  const char* end = value.data() + value.size();
  const auto [rest, error] = std::from_chars(value.data(), end, workers);
  if (error != std::errc{} || rest != end || workers == 0 || workers > kMaxWorkers) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("workers={} is not a number from 1 to {}", value, kMaxWorkers));
  }
  options.workers = workers;
  return {};
}

Status set_front_end(RequesterOptions& options, std::string_view value) {
  if (value == "auto") {
    options.front_end = FrontEndKind::kAuto;
  } else if (value == "io_uring") {
    options.front_end = FrontEndKind::kIoUring;
  } else if (value == "dev_fuse") {
    options.front_end = FrontEndKind::kDevFuse;
  } else {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("front_end={} is none of auto, io_uring, dev_fuse", value));
  }
  return {};
}

// An option of ours with a value.
struct ValueOption {
  std::string_view prefix;
  Status (*set)(RequesterOptions& options, std::string_view value);
};

constexpr ValueOption kValueOptions[] = {
    {"providers=", [](RequesterOptions& options,
                      std::string_view value) { return add_providers(value, options.providers); }},
    {"stripe=", set_stripe},
    {"size=", set_size},
    {"metadata=", set_metadata},
    {"timeout=", set_timeout},
    {"workers=", set_workers},
    {"poll=", set_poll},
    {"front_end=", set_front_end},
    {"key_file=",
     [](RequesterOptions& options, std::string_view value) {
       options.key_file = value;
       return Status{};
     }},
    {"rdma_device=",
     [](RequesterOptions& options, std::string_view value) {
       options.rdma_device = value;
       return Status{};
     }},
    {"log_file=",
     [](RequesterOptions& options, std::string_view value) {
       options.log_file = value;
       return Status{};
     }},
    {"fsname=",
     [](RequesterOptions& options, std::string_view value) {
       options.fs_name = value;
       return Status{};
     }},
};

Status take_option(RequesterOptions& options, std::string_view text) {
  for (const ValueOption& option : kValueOptions) {
    if (text.starts_with(option.prefix)) {
      return option.set(options, text.substr(option.prefix.size()));
    }
  }
  if (text == "tls") {
    options.tls = true;
  } else if (text == "direct_io") {
    options.direct_io = true;
  } else if (text == "allow_other") {
    options.allow_other = true;
  } else {
    options.mount_options.emplace_back(text);
  }
  return {};
}

Status take_flag(RequesterOptions& options, std::string_view flag) {
  if (flag == "-f") {
    options.foreground = true;
  } else if (flag == "-d" || flag == "--debug") {
    options.debug = true;
    options.foreground = true;
  } else if (flag == "-s") {
    options.workers = 1;
  } else if (flag == "-h" || flag == "--help") {
    options.shows_help = true;
  } else if (flag == "-V" || flag == "--version") {
    options.shows_version = true;
  } else {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("unknown option {}; rramfs -h lists the options", flag));
  }
  return {};
}

Status take_mountpoint(RequesterOptions& options, std::string_view text) {
  if (!options.mountpoint.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("two mount points, {} and {}: name one, and the providers with "
                            "-o providers=",
                            options.mountpoint, text));
  }
  options.mountpoint = text;
  return {};
}

bool is_inside_range(std::string_view option) {
  return option.starts_with("providers=") &&
         std::ranges::count(option, '[') > std::ranges::count(option, ']');
}

// libfuse's callback: 0 takes the argument, -1 ends the parsing.
int on_argument(void* data, const char* text, int key, fuse_args* /*rest*/) {
  auto& parsing = *static_cast<Parsing*>(data);
  if (key == FUSE_OPT_KEY_NONOPT) {
    parsing.status = take_mountpoint(parsing.options, text);
  } else if (text[0] == '-') {
    parsing.status = take_flag(parsing.options, text);
  } else {
    std::string& open_range = parsing.open_range;
    open_range += open_range.empty() ? text : fmt::format(",{}", text);
    if (!is_inside_range(open_range)) {
      parsing.status = take_option(parsing.options, std::exchange(open_range, {}));
    }
  }
  return parsing.status ? 0 : -1;
}

Status check(const RequesterOptions& options) {
  if (options.shows_help || options.shows_version) return {};
  if (options.mountpoint.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "no mount point: rramfs MOUNTPOINT -o providers=HOST+HOST");
  }
  if (options.providers.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "no providers: add -o providers=HOST+HOST, or providers=local:2G to try it alone");
  }
  for (const Endpoint& provider : options.providers) {
    if (!options.tls) break;
    if (Status possible = check_tls(provider, options.key_file.has_value()); !possible) {
      return possible;
    }
  }
  return {};
}

std::string joined_names(const std::vector<Endpoint>& providers) {
  constexpr std::size_t kNamed = 4;
  std::string names;
  for (std::size_t i = 0; i < std::min(providers.size(), kNamed); ++i) {
    names += (i == 0 ? "" : "+") + endpoint_text(providers[i]);
  }
  if (providers.size() > kNamed) names += fmt::format("+{} more", providers.size() - kNamed);
  return names;
}

}  // namespace

Result<RequesterOptions> parse_command_line(int argc, char** argv) {
  fuse_args arguments = FUSE_ARGS_INIT(argc, argv);
  Parsing parsing;
  if (argc > 0) parsing.options.program = argv[0];
  parsing.options.allow_other = ::geteuid() == 0;
  const fuse_opt no_table[] = {FUSE_OPT_END};
  const int rc = fuse_opt_parse(&arguments, &parsing, no_table, on_argument);
  fuse_opt_free_args(&arguments);
  if (!parsing.status) return std::unexpected(parsing.status.error());
  if (rc != 0) {
    return fail(ErrorCode::kInvalidArgument,
                "the command line is not understood: an option is missing its value");
  }
  if (!parsing.open_range.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: a bracket is not closed", parsing.open_range));
  }
  if (Status status = check(parsing.options); !status) return std::unexpected(status.error());
  if (parsing.options.fs_name.empty()) {
    parsing.options.fs_name = joined_names(parsing.options.providers);
  }
  return parsing.options;
}

std::string_view help_text() {
  return R"(usage: rramfs MOUNTPOINT -o providers=A+B+C[,OPTION...]

Mounts the memory that providers lend as one file system. `fusermount3 -u MOUNTPOINT` detaches;
what was stored is gone then.

providers, joined by '+' or each in a providers= of its own:
  HOST[:PORT]            the best way there: same host, RDMA, TCP
  verbs://HOST[:PORT]    RDMA; the port is 7470 unless named
  tcp://HOST[:PORT]      TCP
  HOST/HOST[:PORT]       addresses of one provider's NICs, used in turn
  unix://PATH            a provider on this host, through shared memory
  local:SIZE             memory of this process itself, to try it alone
  node[01-13]            a range of hosts
  @FILE                  a list, one a line

options (-o):
  size=SIZE              of the volume (default: all that the providers have free)
  stripe=SIZE            stripe unit, a power of two from 16K to 4M (default 256K)
  key_file=FILE          the pre-shared key of the providers, mode 0600
  tls                    encrypt all that goes by TCP, and go no other way; needs key_file=
  metadata=SIZE          memory of this host for names, attributes and block maps; more is ENOSPC
                         (default: a quarter of what the host, or the control group, has)
  timeout=TIME           until an operation on a dead provider gives EIO (default 5s)
  rdma_device=NAME       the only RDMA device to use (default: whichever leads to a provider)
  poll=auto|off|N        microseconds that a worker looks for the end of RDMA operations before it
                         sleeps (default: auto, 20 with four or more CPUs, else off)
  workers=N              threads (default: one a CPU)
  direct_io              past the kernel's page cache
  allow_other            other users may use the mount (default as root)
  front_end=KIND         auto, io_uring or dev_fuse (default auto)
  log_file=FILE          where to log in the background (default: the system log)
  ro, noatime, fsname=NAME and what else mount(8) knows for every file system

  -f    stay in the foreground      -d    foreground, with every request logged
  -s    one worker                  -V    version            -h    this help

SIZE takes K, M, G and T. Exit status: 0 mounted, 1 a wrong command line, 2 the system lacks
something, 32 the mount failed, as mount(8).
)";
}

}  // namespace rram
