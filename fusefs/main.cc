// rramfs: mounts the memory of providers as one file system. See README.md.

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "base/fd.h"
#include "base/result.h"
#include "fusefs/background.h"
#include "fusefs/front/command_line.h"
#include "fusefs/mount_table.h"
#include "fusefs/options.h"
#include "fusefs/requester.h"

namespace rram {
namespace {

// Exit statuses of mount(8).
constexpr int kExitUsage = 1;
constexpr int kExitSystem = 2;
constexpr int kExitMountFailure = 32;

constexpr const char* kMountType = "fuse.rramfs";
// How long programs that still use the mount are waited for after a signal, before they get errors.
constexpr int kDetachGraceMs = 5000;

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

// Signals that end the daemon, and the end of the mount, as descriptors to wait for.
class Endings {
 public:
  static Result<Endings> create() {
    const sigset_t signals = ending_signals();
    if (::pthread_sigmask(SIG_BLOCK, &signals, nullptr) != 0) {
      return fail_errno(errno, "cannot block signals");
    }
    UniqueFd signal_fd(::signalfd(-1, &signals, SFD_CLOEXEC));
    UniqueFd ended_fd(::eventfd(0, EFD_CLOEXEC));
    if (!signal_fd || !ended_fd) return fail_errno(errno, "cannot make descriptors to wait on");
    return Endings(std::move(signal_fd), std::move(ended_fd));
  }

  // From any thread: the kernel has ended the mount.
  void note_ended() const {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(ended_fd_.get(), &one, sizeof one);
  }

  enum class Cause { kSignal, kEnded, kTimeout };
  Cause wait(int timeout_ms, bool heeds_signals) const {
    pollfd descriptors[2] = {{ended_fd_.get(), POLLIN, 0},
                             {heeds_signals ? signal_fd_.get() : -1, POLLIN, 0}};
    int ready = 0;
    do {
      ready = ::poll(descriptors, 2, timeout_ms);
    } while (ready < 0 && errno == EINTR);
    if ((descriptors[0].revents & POLLIN) != 0) return Cause::kEnded;
    if ((descriptors[1].revents & POLLIN) != 0) return Cause::kSignal;
    return Cause::kTimeout;
  }

  // One that has not been heeded: it stays.
  [[nodiscard]] bool has_signal() const {
    return wait(0, /*heeds_signals=*/true) == Cause::kSignal;
  }

 private:
  Endings(UniqueFd signal_fd, UniqueFd ended_fd)
      : signal_fd_(std::move(signal_fd)), ended_fd_(std::move(ended_fd)) {}

  UniqueFd signal_fd_;
  UniqueFd ended_fd_;
};

Status set_up_log(const RequesterOptions& options) try {
  std::shared_ptr<spdlog::logger> logger;
  if (options.foreground) {
    logger = std::make_shared<spdlog::logger>(
        "rramfs", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    logger->set_pattern("rramfs: %v");
  } else if (options.log_file) {
    logger = std::make_shared<spdlog::logger>(
        "rramfs", std::make_shared<spdlog::sinks::basic_file_sink_mt>(*options.log_file));
    logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %l: %v");
  } else {
    logger = std::make_shared<spdlog::logger>(
        "rramfs", std::make_shared<spdlog::sinks::syslog_sink_mt>("rramfs", LOG_PID, LOG_DAEMON,
                                                                  /*enable_formatting=*/false));
  }
  logger->set_level(options.debug ? spdlog::level::debug : spdlog::level::info);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
  return {};
} catch (const spdlog::spdlog_ex& error) {
  return fail(
      ErrorCode::kInvalidArgument,
      fmt::format("cannot write the log file {}: {}", options.log_file.value_or(""), error.what()));
}

// So that memory pressure cannot stop the very process that would relieve it.
void prepare_process() {
  if (::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0) spdlog::debug("not an I/O flusher: needs root");
  // Under a finite limit, locking what comes later would make later allocations fail.
  rlimit locked{};
  const bool may_lock_all = ::getrlimit(RLIMIT_MEMLOCK, &locked) == 0 &&
                            (locked.rlim_cur == RLIM_INFINITY || ::geteuid() == 0);
  if (!may_lock_all || ::mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0) {
    spdlog::debug("memory is not locked: needs root or an unlimited memlock limit");
  }
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
}

// A mount point that can be used; what a dead rramfs left there is taken away.
Status prepare_mountpoint(RequesterOptions& options) {
  // The last part may be a dead mount, which cannot be resolved: then only what is before it is.
  std::error_code error;
  if (const std::filesystem::path whole = std::filesystem::canonical(options.mountpoint, error);
      !error) {
    options.mountpoint = whole.string();
  }
  std::filesystem::path path = std::filesystem::absolute(options.mountpoint, error);
  if (path.filename().empty()) path = path.parent_path();
  const std::filesystem::path parent = std::filesystem::canonical(path.parent_path(), error);
  if (error) {
    return fail(ErrorCode::kNotFound, fmt::format("{}: {}", options.mountpoint, error.message()));
  }
  options.mountpoint = (parent / path.filename()).string();
  const std::optional<MountEntry> mounted = find_mount(options.mountpoint);
  if (mounted && mounted->type == kMountType) {
    if (!is_stale(options.mountpoint)) {
      return fail(ErrorCode::kExists,
                  fmt::format("{} is mounted by another rramfs already: fusermount3 -u {} first",
                              options.mountpoint, options.mountpoint));
    }
    if (Status status = detach(options.mountpoint, /*lazily=*/true); !status) return status;
    fmt::print(stderr, "rramfs: {} was left behind by an rramfs that died; replaced\n",
               options.mountpoint);
  }
  struct stat attributes{};
  if (::stat(options.mountpoint.c_str(), &attributes) != 0) {
    return fail_errno(errno, options.mountpoint);
  }
  if (!S_ISDIR(attributes.st_mode)) {
    return fail(ErrorCode::kNotDirectory, fmt::format("{} is not a directory", options.mountpoint));
  }
  return {};
}

// After a signal: detach, so that what programs wrote is written back while they still can.
// False: the mount would not end, and the kernel still holds requests of it.
bool detach_after_signal(const RequesterOptions& options, const Endings& endings,
                         Requester& requester) {
  // Only what is ours: somebody may have mounted over it, or detached it lazily and mounted again.
  const std::optional<MountEntry> top = find_mount(options.mountpoint);
  const bool is_ours = top && top->device_minor == requester.device_minor();
  if (Status status = is_ours ? detach(options.mountpoint, /*lazily=*/false) : Status{}; !status) {
    spdlog::warn("{}; detaching lazily: programs that still use it get errors in {} s",
                 status.error().message, kDetachGraceMs / 1000);
    if (Status lazily = detach(options.mountpoint, /*lazily=*/true); !lazily) {
      spdlog::error("{}", lazily.error().message);
    }
  }
  if (endings.wait(kDetachGraceMs, /*heeds_signals=*/false) == Endings::Cause::kEnded) return true;
  requester.abort();
  return endings.wait(kDetachGraceMs, /*heeds_signals=*/false) == Endings::Cause::kEnded;
}

// Descriptors 0, 1 and 2 exist: none of ours may come to stand there.
void open_standard_descriptors() {
  UniqueFd fd;
  do {
    fd.reset(::open("/dev/null", O_RDWR));
  } while (fd && fd.get() <= STDERR_FILENO && (static_cast<void>(fd.release()), true));
}

int run(RequesterOptions options) {
  Background background;
  if (Status status = prepare_mountpoint(options); !status) {
    fmt::print(stderr, "rramfs: {}\n", status.error().message);
    return kExitUsage;
  }
  if (!options.foreground) {
    Result<Background> entered = Background::enter();
    if (!entered) {
      fmt::print(stderr, "rramfs: {}\n", entered.error().message);
      return kExitSystem;
    }
    background = std::move(*entered);
  }
  if (Status status = set_up_log(options); !status) {
    background.report_failure("rramfs: " + status.error().message, kExitUsage);
    return kExitUsage;
  }
  prepare_process();
  Result<Endings> endings = Endings::create();
  if (!endings) {
    background.report_failure("rramfs: " + endings.error().message, kExitSystem);
    return kExitSystem;
  }
  const auto on_ended = [&](const Status& status) {
    if (!status) spdlog::error("{}", status.error().message);
    endings->note_ended();
  };
  const auto is_called_off = [&] { return endings->has_signal() || !background.is_awaited(); };
  Result<std::unique_ptr<Requester>> requester = Requester::start(options, on_ended, is_called_off);
  if (!requester) {
    background.report_failure("rramfs: " + requester.error().message, kExitMountFailure);
    return kExitMountFailure;
  }
  std::string report;
  for (const std::string& note : (*requester)->notes()) {
    spdlog::info("{}", note);
    report += fmt::format("rramfs: {}\n", note);
  }
  report += "rramfs: " + (*requester)->summary();
  const bool is_wanted = background.report_success(report);
  const bool ends_by_itself =
      is_wanted && endings->wait(-1, /*heeds_signals=*/true) == Endings::Cause::kEnded;
  if (!ends_by_itself && !detach_after_signal(options, *endings, **requester)) {
    // What the kernel still holds refers to our memory: leave without taking anything apart. The
    // kernel ends the mount with the process, and the providers take their memory back.
    spdlog::critical("{} would not end; leaving it to the kernel", options.mountpoint);
    std::_Exit(kExitSystem);
  }
  requester->reset();
  spdlog::info("{} is detached", options.mountpoint);
  return 0;
}

}  // namespace
}  // namespace rram

int main(int argc, char** argv) {
  // The key and what programs store are not for core dumps, nor for debuggers of the same user.
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  rram::open_standard_descriptors();
  std::signal(SIGPIPE, SIG_IGN);  // a reader that left is an error of that write, not our end
  rram::Result<rram::RequesterOptions> options = rram::parse_command_line(argc, argv);
  if (!options) {
    fmt::print(stderr, "rramfs: {}\n", options.error().message);
    return rram::kExitUsage;
  }
  if (options->shows_help) {
    fmt::print("{}", rram::help_text());
    return 0;
  }
  if (options->shows_version) {
    fmt::print("rramfs {}\n", RRAM_VERSION);
    return 0;
  }
  return rram::run(std::move(*options));
}
