// Going into the background without losing a word: the parent stays until the child says that the
// mount is usable, or why not, and ends with that message and exit status. (libfuse's own daemonize
// leaves before anything can have failed.)
#pragma once

#include <csignal>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace rram {

// The signals that ask the daemon to end, without those that it was started to ignore (nohup; the
// background jobs of a script).
sigset_t ending_signals();

class Background {
 public:
  // In the foreground: messages go straight to the terminal.
  Background() = default;

  // Forks. The parent never returns from this: it hands the first signal that asks it to end on to
  // the child, whose last word it waits for, and ends by the second one. The child has a session of
  // its own, and these signals are blocked in it. Before any thread is started.
  static Result<Background> enter();

  // Whether there is still somebody who waits for the last word (not after a SIGKILL while it
  // connected).
  [[nodiscard]] bool is_awaited() const;

  // Each is the last word, once. success: the line goes to the parent's standard output, and this
  // process lets the terminal go. failure: to standard error; the caller then ends with
  // `exit_status`.
  // False: nobody is there to hear of the success any more.
  [[nodiscard]] bool report_success(const std::string& line);
  void report_failure(const std::string& line, int exit_status);

 private:
  explicit Background(UniqueFd pipe) : pipe_(std::move(pipe)) {}
  bool send(int exit_status, const std::string& line);

  UniqueFd pipe_;  // to the parent; none in the foreground
};

}  // namespace rram
