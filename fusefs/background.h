// Going into the background without losing a word: the parent stays until the child says that the
// mount is usable, or why not, and ends with that message and exit status. (libfuse's own daemonize
// leaves before anything can have failed.)
#pragma once

#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace rram {

class Background {
 public:
  // In the foreground: messages go straight to the terminal.
  Background() = default;

  // Forks. The parent never returns from this; the child has a session of its own. Before any
  // thread is started.
  static Result<Background> enter();

  // Each is the last word, once. success: the line goes to the parent's standard output, and this
  // process lets the terminal go. failure: to standard error; the caller then ends with
  // `exit_status`.
  // False: nobody is there to hear of the success any more (Ctrl-C while it connected).
  [[nodiscard]] bool report_success(const std::string& line);
  void report_failure(const std::string& line, int exit_status);

 private:
  explicit Background(UniqueFd pipe) : pipe_(std::move(pipe)) {}
  bool send(int exit_status, const std::string& line);

  UniqueFd pipe_;  // to the parent; none in the foreground
};

}  // namespace rram
