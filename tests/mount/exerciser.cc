// A seeded random exerciser of a file system: several processes do random operations below one
// directory, each against an oracle in its memory, and compare byte for byte. Exit status 0: all
// agreed; 1: the file system did something wrong; 2: the command line is wrong.

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "tests/mount/operations.h"
#include "tests/mount/shared_files.h"
#include "tests/mount/verify.h"
#include "tests/mount/world.h"

namespace rram::exerciser {
namespace {

using SteadyClock = std::chrono::steady_clock;

struct Options {
  std::string directory;
  uint64_t seed = 0;
  uint64_t operations = 20000;
  uint32_t processes = 4;
  uint64_t max_file_bytes = uint64_t{4} << 20;
  uint64_t max_total_bytes = uint64_t{256} << 20;
  uint32_t time_limit_s = 0;
  std::string fault;
  bool keep = false;
};

constexpr uint64_t kSharedShare = 10;  // one operation in so many works on shared files

void report_failure(const World& world, const Options& options, uint32_t process,
                    const std::exception& error) {
  std::string text = fmt::format("exerciser: FAILED seed={} process={} operation={}\n  {}\n",
                                 options.seed, process, world.operation, error.what());
  text += "  last operations of this process:\n";
  for (const std::string& line : world.log) text += "   " + line + "\n";
  fmt::print(stderr, "{}", text);
}

bool out_of_time(const Options& options, SteadyClock::time_point start) {
  return options.time_limit_s != 0 &&
         SteadyClock::now() - start > std::chrono::seconds(options.time_limit_s);
}

std::string own_directory(const Options& options, uint32_t process) {
  return fmt::format("{}/p{:02}", options.directory, process);
}

Limits limits_of(const Options& options) {
  return {options.max_file_bytes, options.max_total_bytes / options.processes};
}

// What one process does below its own directory.
void work_alone(World& world, const Options& options) {
  const auto start = SteadyClock::now();
  const uint64_t operations =
      (options.operations - options.operations / kSharedShare) / options.processes;
  while (world.operation < operations && !out_of_time(options, start)) {
    ++world.operation;
    run_one_operation(world);
  }
  if (world.operation < operations) {
    fmt::print("exerciser: time limit after {} of {} operations\n", world.operation, operations);
  }
  verify_everything(world);
  for (const std::string& what : world.unsupported) {
    fmt::print("exerciser: not offered by this file system: {}\n", what);
  }
}

// Runs `work` in a child process; the child's exit status is 0 or 1.
pid_t start_process(const Options& options, uint32_t process, uint64_t seed,
                    const std::string& directory, const std::function<void(World&)>& work) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child != 0) return child;
  int status = 0;
  const auto storage = make_storage(options.fault);
  try {
    World world(directory, mix(seed, process), limits_of(options), *storage);
    try {
      work(world);
    } catch (const std::exception& error) {
      report_failure(world, options, process, error);
      status = 1;
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "exerciser: FAILED seed={} process={}: {}\n", options.seed, process,
               error.what());
    status = 1;
  }
  std::fflush(nullptr);
  _exit(status);
}

// Waits for all; says which ended badly.
bool wait_for(const std::vector<pid_t>& children) {
  bool good = true;
  for (const pid_t child : children) {
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) {
      good = false;
    } else if (WIFSIGNALED(status)) {
      fmt::print(stderr, "exerciser: FAILED: a process ended by signal {}\n", WTERMSIG(status));
      good = false;
    } else {
      good = good && WEXITSTATUS(status) == 0;
    }
  }
  return good;
}

bool run_own_files(const Options& options) {
  std::vector<pid_t> children;
  for (uint32_t process = 0; process < options.processes; ++process) {
    const std::string directory = own_directory(options, process);
    std::filesystem::create_directory(directory);
    children.push_back(start_process(options, process, options.seed, directory,
                                     [&options](World& world) { work_alone(world, options); }));
  }
  return wait_for(children);
}

bool run_shared_files(const Options& options) {
  const SharedPlan plan{
      .directory = options.directory,
      .seed = options.seed,
      .processes = options.processes,
      .operations_per_process = options.operations / kSharedShare / options.processes,
      .file_bytes = options.max_file_bytes};
  create_shared_files(plan);
  std::vector<pid_t> children;
  for (uint32_t process = 0; process < options.processes; ++process) {
    children.push_back(start_process(
        options, process, options.seed, options.directory,
        [&plan, process](World& world) { work_on_shared_files(world, plan, process); }));
  }
  if (!wait_for(children)) return false;
  return wait_for({start_process(options, options.processes, options.seed, options.directory,
                                 [&plan](World& world) { verify_shared_files(world, plan); })});
}

bool run(const Options& options) {
  const auto start = SteadyClock::now();
  fmt::print("exerciser: seed={} operations={} processes={} max-file-size={} dir={}\n",
             options.seed, options.operations, options.processes, options.max_file_bytes,
             options.directory);
  std::filesystem::create_directories(options.directory);
  if (!run_own_files(options) || !run_shared_files(options)) return false;
  if (!options.keep) {
    for (uint32_t process = 0; process < options.processes; ++process) {
      std::filesystem::remove_all(own_directory(options, process));
    }
    std::filesystem::remove(options.directory + "/shared-ranges");
    std::filesystem::remove(options.directory + "/shared-records");
  }
  const std::chrono::duration<double> took = SteadyClock::now() - start;
  fmt::print("exerciser: passed seed={} in {:.1f} s\n", options.seed, took.count());
  return true;
}

int exerciser_main(int argc, char** argv) {
  Options options;
  options.seed = std::random_device{}();
  CLI::App app{"Does random operations on a file system and checks every byte against an oracle"};
  app.add_option("--dir", options.directory, "an empty or new directory on the file system")
      ->required();
  app.add_option("--seed", options.seed, "makes a run repeatable; random when not given");
  app.add_option("--operations", options.operations, "of all processes together");
  app.add_option("--processes", options.processes)->check(CLI::Range(1, 64));
  app.add_option("--max-file-size", options.max_file_bytes, "such as 4M; holes reach 16 times it")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--max-total-size", options.max_total_bytes, "of all files together")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--time-limit", options.time_limit_s, "seconds; 0 for none");
  app.add_option("--inject-fault", options.fault, "break the file system on purpose")
      ->check(CLI::IsMember({"flip", "drop", "shift"}));
  app.add_flag("--keep", options.keep, "leave the files");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  constexpr uint64_t kSmallestFileBytes = uint64_t{256} << 10;
  options.max_file_bytes = std::max(options.max_file_bytes, kSmallestFileBytes);
  // A file system that hangs must not hold the caller for ever.
  if (options.time_limit_s != 0) alarm(2 * options.time_limit_s + 60);
  // Modes are compared exactly.
  umask(022);
  return run(options) ? 0 : 1;
}

}  // namespace
}  // namespace rram::exerciser

int main(int argc, char** argv) {
  try {
    return rram::exerciser::exerciser_main(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "exerciser: {}\n", error.what());
    return 1;
  }
}
