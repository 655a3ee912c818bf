// rram-provider: lends this host's memory. See --help.
#include <fmt/format.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "base/event_loop.h"
#include "base/size_text.h"
#include "provider/command_line.h"
#include "provider/server.h"
#include "provider/status.h"
#include "rdma/session/preshared_key.h"

namespace rram {
namespace {

constexpr std::uint64_t kStatusTimeoutMs = 5'000;
constexpr std::uint64_t kProgressLineMs = 10'000;

int report(const Error& error) {
  fmt::print(stderr, "rram-provider: {}\n", error.message);
  return 1;
}

// The signals that end this program; blocked in every thread, awaited by the first one.
sigset_t ending_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGHUP);
  return signals;
}

bool says_to_a_terminal() { return ::isatty(STDERR_FILENO) != 0; }

// Tells a person how far the pinning is: one line that changes on a terminal, else a line now and
// then.
class Progress {
 public:
  // False if a signal asks to end.
  bool show(std::uint64_t done_bytes, std::uint64_t total_bytes) {
    const std::uint64_t now_ms = monotonic_ns() / 1'000'000;
    const std::string line =
        fmt::format("rram-provider: pinning memory, {} of {} ({} %)", size_text(done_bytes),
                    size_text(total_bytes), done_bytes * 100 / total_bytes);
    if (is_terminal_) {
      fmt::print(stderr, "\r{}\x1b[K{}", line, done_bytes == total_bytes ? "\n" : "");
      is_line_open_ = done_bytes != total_bytes;
    } else if (now_ms - last_line_ms_ >= kProgressLineMs) {
      last_line_ms_ = now_ms;
      fmt::print(stderr, "{}\n", line);
    }
    const sigset_t signals = ending_signals();
    const timespec at_once{};
    ending_signal_ = ::sigtimedwait(&signals, nullptr, &at_once);
    return ending_signal_ < 0;
  }
  // What comes next on standard error begins a line.
  void end_line() {
    if (std::exchange(is_line_open_, false)) fmt::print(stderr, "\n");
  }
  // After show() was false.
  [[nodiscard]] int ending_signal() const { return ending_signal_; }

 private:
  bool is_terminal_ = says_to_a_terminal();
  bool is_line_open_ = false;
  int ending_signal_ = -1;
  std::uint64_t last_line_ms_ = monotonic_ns() / 1'000'000;
};

// Every segment and every connection is a descriptor.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::string ready_line(const ProviderServer& server) {
  std::string line =
      fmt::format("rram-provider: ready, {} in {} pages", size_text(server.pool_bytes()),
                  size_text(server.plan().page_bytes));
  for (const Endpoint& endpoint : server.endpoints()) line += ", " + endpoint_text(endpoint);
  return line;
}

std::string listening_line(const ProviderServer& server) {
  const std::uint64_t missing_bytes = server.plan().size_bytes() - server.pinned_bytes();
  std::string line =
      fmt::format("rram-provider: {} still to be pinned, what is pinned can be leased",
                  size_text(missing_bytes));
  for (const Endpoint& endpoint : server.endpoints()) line += ", " + endpoint_text(endpoint);
  return line;
}

int wait_for_signal() {
  const sigset_t signals = ending_signals();
  int signal = 0;
  while (::sigwait(&signals, &signal) != 0) {
  }
  return signal;
}

int stop(ProviderServer& server, int signal) {
  fmt::print(stderr, "rram-provider: stopping ({})\n", ::strsignal(signal));
  for (const std::string& requester : server.requesters()) {
    fmt::print(stderr, "rram-provider: the lease of {} ends now, its data is lost\n", requester);
  }
  server.stop();
  return 0;
}

int pin_and_serve(ProviderServer& server) {
  fmt::print(stderr, "{}\n", listening_line(server));
  Progress progress;
  const Status pinned =
      server.wait_until_pinned([&](std::uint64_t done_bytes, std::uint64_t total_bytes) {
        return progress.show(done_bytes, total_bytes);
      });
  progress.end_line();
  if (!pinned && pinned.error().code == ErrorCode::kCancelled) {
    return stop(server, progress.ending_signal());
  }
  if (!pinned) return report(pinned.error());
  fmt::print("{}\n", ready_line(server));
  std::fflush(stdout);
  return stop(server, wait_for_signal());
}

int serve(ServerOptions options) {
  const sigset_t signals = ending_signals();
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  raise_descriptor_limit();
  options.log = std::make_shared<spdlog::logger>(
      "rram-provider", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  // On a terminal a line of the log takes the place of the line of the pinning.
  const std::string clear_line = says_to_a_terminal() ? "\r\x1b[K" : "";
  options.log->set_pattern(clear_line + "%Y-%m-%d %H:%M:%S.%e %n: %v");
  Result<std::unique_ptr<ProviderServer>> server = ProviderServer::start(std::move(options));
  if (!server) return report(server.error());
  return pin_and_serve(**server);
}

int show_status(const CommandLine& line) {
  const Result<StatsReply> stats = query_stats(line.status_of, line.server.key, kStatusTimeoutMs);
  if (!stats) return report(stats.error());
  fmt::print("{}\n", stats_json(*stats));
  return 0;
}

int generate_and_print_key() {
  const Result<PresharedKey> key = generate_key();
  if (!key) return report(key.error());
  fmt::print("{}\n", key->text());
  return 0;
}

int run(int argc, char** argv) {
  Result<CommandLine> line = parse_command_line(argc, argv);
  if (!line) {
    report(line.error());
    return 2;
  }
  switch (line->action) {
    case CommandLine::Action::kExit:
      return line->exit_status;
    case CommandLine::Action::kGenerateKey:
      return generate_and_print_key();
    case CommandLine::Action::kShowStatus:
      return show_status(*line);
    case CommandLine::Action::kServe:
      return serve(std::move(line->server));
  }
  return 1;
}

}  // namespace
}  // namespace rram

int main(int argc, char** argv) {
  // The key and what requesters store are not for core dumps, nor for debuggers of the same user.
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  try {
    return rram::run(argc, argv);
  } catch (const std::exception& error) {  // no memory, no thread
    fmt::print(stderr, "rram-provider: {}\n", error.what());
    return 1;
  }
}
