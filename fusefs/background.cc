#include "fusefs/background.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>

namespace rram {

namespace {

constexpr int kChildDiedStatus = 2;

constexpr int kExitOfSignal = 128;  // plus its number, as a shell has it

// The number of a signal that has come, if one has.
std::optional<int> take_signal(int signal_fd) {
  signalfd_siginfo taken{};
  if (::read(signal_fd, &taken, sizeof taken) != sizeof taken) return std::nullopt;
  return static_cast<int>(taken.ssi_signo);
}

// Everything that the child writes, until it has nothing more to say.
std::string listen(int pipe_fd, int signal_fd, pid_t child) {
  std::string message;
  bool is_handed_on = false;
  for (;;) {
    pollfd descriptors[2] = {{pipe_fd, POLLIN, 0}, {signal_fd, POLLIN, 0}};
    if (::poll(descriptors, 2, -1) < 0) continue;  // EINTR
    if (descriptors[1].revents != 0) {
      const std::optional<int> signal = take_signal(signal_fd);
      if (signal && std::exchange(is_handed_on, true)) std::_Exit(kExitOfSignal + *signal);
      if (signal) ::kill(child, SIGTERM);
    }
    if (descriptors[0].revents == 0) continue;
    char buffer[512];
    const ssize_t received = ::read(pipe_fd, buffer, sizeof buffer);
    if (received <= 0) return message;
    message.append(buffer, static_cast<std::size_t>(received));
  }
}

// What travels over the pipe: the exit status in one byte, then the line until the end.
[[noreturn]] void wait_as_parent(int pipe_fd, int signal_fd, pid_t child) {
  const std::string message = listen(pipe_fd, signal_fd, child);
  if (message.empty()) {
    int status = 0;
    ::waitpid(child, &status, 0);
    std::fputs("rramfs: the daemon ended before it could say why; run it with -f to see more\n",
               stderr);
    std::_Exit(kChildDiedStatus);
  }
  const int exit_status = static_cast<unsigned char>(message.front());
  std::fputs(message.c_str() + 1, exit_status == 0 ? stdout : stderr);
  std::fflush(nullptr);
  std::_Exit(exit_status);
}

}  // namespace

sigset_t ending_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction current{};
    const bool is_ignored =
        ::sigaction(signal, nullptr, &current) == 0 && current.sa_handler == SIG_IGN;
    if (!is_ignored) sigaddset(&signals, signal);
  }
  return signals;
}

bool Background::is_awaited() const {
  if (!pipe_) return true;
  pollfd descriptor{pipe_.get(), 0, 0};
  return ::poll(&descriptor, 1, 0) <= 0;  // else POLLERR: it has no reader any more
}

Result<Background> Background::enter() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "cannot make a pipe");
  UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  // Blocked before there are two: none is lost.
  const sigset_t signals = ending_signals();
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  UniqueFd signal_fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signal_fd) return fail_errno(errno, "cannot make a descriptor for signals");
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return fail_errno(errno, "cannot fork");
  if (child > 0) {
    writing.reset();
    wait_as_parent(reading.get(), signal_fd.get(), child);
  }
  ::setsid();
  return Background(std::move(writing));
}

bool Background::send(int exit_status, const std::string& line) {
  std::string message(1, static_cast<char>(exit_status));
  message += line;
  std::size_t sent = 0;
  while (sent < message.size()) {
    const ssize_t written = ::write(pipe_.get(), message.data() + sent, message.size() - sent);
    if (written < 0 && errno != EINTR) return false;  // the parent is gone
    if (written > 0) sent += static_cast<std::size_t>(written);
  }
  pipe_.reset();
  return true;
}

bool Background::report_success(const std::string& line) {
  if (!pipe_) {
    fmt::print("{}\n", line);
    std::fflush(stdout);
    return true;
  }
  [[maybe_unused]] const int changed = ::chdir("/");
  const UniqueFd null_device(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (null_device) ::dup2(null_device.get(), standard);
  }
  return send(0, line + "\n");
}

void Background::report_failure(const std::string& line, int exit_status) {
  if (!pipe_) {
    fmt::print(stderr, "{}\n", line);
    return;
  }
  static_cast<void>(send(exit_status, line + "\n"));
}

}  // namespace rram
