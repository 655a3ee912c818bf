// The same random stream of system calls, by several users, on two directories of different file
// systems, compared call by call: the result, errno, what was read, and what stat(2) shows of
// everything the call named; and now and then the whole tree with contents, holes and attributes.
// Exit status 0: no difference; 1: a difference, shown with what led to it; 2: the command line is
// wrong. As root: it acts as other users and changes its root directory.
//
// Each side is a process of its own that tells a pipe what came of each call, a record each; this
// process compares the records. Nobody waits for the other side.
#include <fmt/core.h>
#include <grp.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/mount/differential/call.h"
#include "tests/mount/differential/look.h"

namespace rram::differential {
namespace {

struct Options {
  std::vector<std::string> directories;
  std::uint64_t seed = 0;
  std::uint64_t operations = 20000;
  std::vector<std::string> without;
  std::uint64_t tree_every = 2000;
  std::uint64_t times_every = 50;
};

constexpr std::size_t kHistory = 40;        // records
constexpr std::size_t kHistoryBytes = 500;  // of each

// --- One side ------------------------------------------------------------------------------------

struct User {
  uid_t uid;
  gid_t gid;
  std::vector<gid_t> groups;
};

const std::vector<User>& users() {
  static const std::vector<User> kUsers{
      {0, 0, {0}}, {1001, 1001, {1001, 1003}}, {1002, 1002, {1002, 1001}}, {1004, 1004, {}}};
  return kUsers;
}

void check(bool good, const char* what) {
  if (!good) throw std::runtime_error(fmt::format("{}: {}", what, strerrorname_np(errno)));
}

// Everything in its scope is done as that user, with that umask.
class ActingAs {
 public:
  ActingAs(const User& user, mode_t mask) : previous_mask_(umask(mask)) {
    check(setgroups(user.groups.size(), user.groups.data()) == 0, "setgroups");
    check(setegid(user.gid) == 0 && seteuid(user.uid) == 0, "becoming another user");
  }
  ~ActingAs() {
    const gid_t own = 0;
    if (seteuid(0) != 0 || setegid(0) != 0 || setgroups(1, &own) != 0) std::abort();
    umask(previous_mask_);
  }
  ActingAs(const ActingAs&) = delete;
  ActingAs& operator=(const ActingAs&) = delete;

 private:
  mode_t previous_mask_;
};

std::vector<CallKind> kinds_for(const Options& options) {
  std::vector<CallKind> kinds;
  for (const auto& some : {name_calls(), data_calls(), attribute_calls()}) {
    for (const CallKind& kind : some) {
      const bool is_wanted = std::ranges::find(options.without, kind.name) == options.without.end();
      if (is_wanted) kinds.push_back(kind);
    }
  }
  return kinds;
}

const CallKind& draw_kind(const std::vector<CallKind>& kinds, Chance& chance) {
  std::uint64_t all = 0;
  for (const CallKind& kind : kinds) all += kind.weight;
  std::uint64_t drawn = chance.below(all);
  for (const CallKind& kind : kinds) {
    if (drawn < kind.weight) return kind;
    drawn -= kind.weight;
  }
  return kinds.back();
}

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.find_last_of('/', path.size() < 2 ? 0 : path.size() - 2);
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

std::string report(const Call& call, std::uint64_t number, const Clock& clock) {
  std::string record = fmt::format("{} {}: {}{}\n", number, call.words, call.outcome, call.details);
  for (const std::string& path : call.touched_paths) {
    record += fmt::format("    {}: {}\n", path.substr(0, 40), look_at_path(path, clock));
    const std::string parent = directory_of(path);
    record += fmt::format("    {}: {}\n", parent.substr(0, 40), look_at_path(parent, clock));
  }
  for (const int slot : call.touched_handles) {
    const int handle = call.side.handles.at(static_cast<std::size_t>(slot));
    record += fmt::format("    [{}]: {}\n", slot, look_at_handle(handle, clock));
  }
  return record;
}

void send_record(std::FILE* to, const std::string& record) {
  const std::uint64_t size = record.size();
  check(std::fwrite(&size, sizeof size, 1, to) == 1 &&
            std::fwrite(record.data(), 1, record.size(), to) == record.size(),
        "telling the other process");
}

void work(const Options& options, std::FILE* to) {
  const std::vector<CallKind> kinds = kinds_for(options);
  Side side;
  Clock clock = Clock::start();
  for (std::uint64_t number = 1; number <= options.operations; ++number) {
    Call call(side, options.seed, number);
    const CallKind& kind = draw_kind(kinds, call.chance);
    const User& user = users().at(call.chance.one_in(2) ? 0 : call.chance.below(users().size()));
    const mode_t mask = call.pick<mode_t>({022, 022, 0, 077, 027});
    clock.has_mark = false;
    if (call.chance.one_in(options.times_every)) clock.set_mark();
    call.say("uid {} umask {:o} {}", user.uid, mask, kind.name);
    {
      const ActingAs as(user, mask);
      kind.run(call);
    }
    send_record(to, report(call, number, clock));
    clock.has_mark = false;
    if (number % options.tree_every == 0) send_record(to, look_at_tree(clock));
  }
  send_record(to, look_at_tree(clock));
}

[[noreturn]] void run_side(const Options& options, const std::string& directory, int pipe_end) {
  int status = 0;
  std::FILE* to = fdopen(pipe_end, "w");
  try {
    // The whole stream is done inside: absolute paths, ".." and links cannot leave it.
    check(chdir(directory.c_str()) == 0 && chroot(".") == 0, directory.c_str());
    check(chmod(".", 0777) == 0, "the root of the tree");
    signal(SIGPIPE, SIG_IGN);
    work(options, to);
  } catch (const std::exception& error) {
    fmt::print(stderr, "differential: in {}: {}\n", directory, error.what());
    status = 1;
  }
  std::fclose(to);
  _exit(status);
}

// --- Comparing -----------------------------------------------------------------------------------

// A side's process and the records that come from it. Its end ends the process.
class Stream {
 public:
  Stream(const Options& options, const std::string& directory) {
    int ends[2];
    check(pipe(ends) == 0, "pipe");
    child_ = fork();
    check(child_ >= 0, "fork");
    if (child_ == 0) {
      close(ends[0]);
      run_side(options, directory, ends[1]);
    }
    close(ends[1]);
    from_ = fdopen(ends[0], "r");
  }
  ~Stream() {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    std::fclose(from_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Nothing at the end.
  std::optional<std::string> next() {
    std::uint64_t size = 0;
    if (std::fread(&size, sizeof size, 1, from_) != 1) return std::nullopt;
    std::string record(size, '\0');
    if (std::fread(record.data(), 1, size, from_) != size) return std::nullopt;
    return record;
  }

 private:
  pid_t child_ = -1;
  std::FILE* from_ = nullptr;
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t from = 0;
  while (from < text.size()) {
    const std::size_t end = std::min(text.find('\n', from), text.size());
    lines.push_back(text.substr(from, end - from));
    from = end + 1;
  }
  return lines;
}

void show_difference(const Options& options, const std::string& left, const std::string& right,
                     const std::deque<std::string>& history) {
  fmt::print("differential: FAILED seed={}; what came before:\n", options.seed);
  for (const std::string& record : history) fmt::print("{}", record);
  fmt::print("differential: < {}, > {}\n", options.directories[0], options.directories[1]);
  const std::vector<std::string> left_lines = lines_of(left);
  const std::vector<std::string> right_lines = lines_of(right);
  for (std::size_t i = 0; i < std::max(left_lines.size(), right_lines.size()); ++i) {
    const std::string a = i < left_lines.size() ? left_lines[i] : "(nothing)";
    const std::string b = i < right_lines.size() ? right_lines[i] : "(nothing)";
    if (a == b) {
      if (i == 0) fmt::print("  {}\n", a);
    } else {
      fmt::print("< {}\n> {}\n", a, b);
    }
  }
}

bool compare(const Options& options) {
  Stream left(options, options.directories[0]);
  Stream right(options, options.directories[1]);
  std::deque<std::string> history;
  std::uint64_t records = 0;
  for (;;) {
    const std::optional<std::string> a = left.next();
    const std::optional<std::string> b = right.next();
    if (a != b) {
      show_difference(options, a.value_or("(ended)"), b.value_or("(ended)"), history);
      return false;
    }
    if (!a && records < options.operations) throw std::runtime_error("both sides ended early");
    if (!a) return true;
    ++records;
    history.push_back(a->substr(0, kHistoryBytes));
    if (history.size() > kHistory) history.pop_front();
  }
}

int differential_main(int argc, char** argv) {
  Options options;
  options.seed = std::random_device{}();
  CLI::App app{"Does the same random system calls on two file systems and compares what comes"};
  app.add_option("directories", options.directories, "two empty directories, to be filled")
      ->required()
      ->expected(2)
      ->check(CLI::ExistingDirectory);
  app.add_option("--seed", options.seed, "makes a run repeatable; random when not given");
  app.add_option("--operations", options.operations, "how many calls")->check(CLI::PositiveNumber);
  app.add_option("--without", options.without, "leave a kind of call out; may be repeated");
  app.add_option("--tree-every", options.tree_every, "compare the whole tree after so many calls")
      ->check(CLI::PositiveNumber);
  app.add_option("--times-every", options.times_every,
                 "check which time stamps change at one in so many calls")
      ->check(CLI::PositiveNumber);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  fmt::print("differential: seed={} operations={} {} {}\n", options.seed, options.operations,
             options.directories[0], options.directories[1]);
  std::fflush(nullptr);
  if (!compare(options)) return 1;
  fmt::print("differential: no difference, seed={}\n", options.seed);
  return 0;
}

}  // namespace
}  // namespace rram::differential

int main(int argc, char** argv) {
  try {
    return rram::differential::differential_main(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "differential: {}\n", error.what());
    return 1;
  }
}
