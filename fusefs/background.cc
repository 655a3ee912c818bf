#include "fusefs/background.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace rram {

namespace {

constexpr int kChildDiedStatus = 2;

// What travels over the pipe: the exit status in one byte, then the line until the end.
[[noreturn]] void wait_as_parent(int pipe_fd, pid_t child) {
  std::string message;
  char buffer[512];
  ssize_t received = 0;
  while ((received = ::read(pipe_fd, buffer, sizeof buffer)) > 0 ||
         (received < 0 && errno == EINTR)) {
    if (received > 0) message.append(buffer, static_cast<std::size_t>(received));
  }
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

Result<Background> Background::enter() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "cannot make a pipe");
  UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return fail_errno(errno, "cannot fork");
  if (child > 0) {
    writing.reset();
    wait_as_parent(reading.get(), child);
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
