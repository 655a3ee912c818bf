// A seeded random exerciser of a file system: several processes with several threads do random
// operations below one directory, first each alone, against an oracle in its memory, byte for byte;
// then all together on the same files, locks and names. Exit status 0: all
// agreed; 1: the file system did something wrong; 2: the command line is wrong.

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "tests/mount/operations.h"
#include "tests/mount/shared.h"
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
  uint32_t threads = 1;  // of each process
  uint64_t max_file_bytes = uint64_t{4} << 20;
  uint64_t max_total_bytes = uint64_t{256} << 20;
  uint32_t time_limit_s = 0;
  std::string fault;
  bool names_only = false;
  bool keep = false;
};

constexpr uint64_t kSharedShare = 10;  // one operation in so many works on shared files

uint64_t shared_operations(const Options& options) {
  return options.names_only ? 0 : options.operations / kSharedShare;
}

uint32_t workers_of(const Options& options) { return options.processes * options.threads; }

void report_failure(const World& world, const Options& options, uint32_t worker,
                    const std::exception& error) {
  std::string text = fmt::format("exerciser: FAILED seed={} worker={} operation={}\n  {}\n",
                                 options.seed, worker, world.operation, error.what());
  text += "  its last operations:\n";
  for (const std::string& line : world.log) text += "   " + line + "\n";
  fmt::print(stderr, "{}", text);
}

bool out_of_time(const Options& options, SteadyClock::time_point start) {
  return options.time_limit_s != 0 &&
         SteadyClock::now() - start > std::chrono::seconds(options.time_limit_s);
}

std::string own_directory(const Options& options, uint32_t worker) {
  return fmt::format("{}/w{:02}", options.directory, worker);
}

Limits limits_of(const Options& options) {
  return {options.max_file_bytes, options.max_total_bytes / workers_of(options)};
}

// What one worker does below its own directory.
void work_alone(World& world, const Options& options) {
  const auto start = SteadyClock::now();
  const uint64_t operations =
      (options.operations - shared_operations(options)) / workers_of(options);
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

// What a worker is asked to do, and where.
struct Task {
  std::function<std::string(uint32_t worker)> directory;
  std::function<void(World&, uint32_t worker)> work;
};

// False when it found something; it has said so then.
bool run_worker(const Options& options, uint32_t worker, const Task& task) {
  try {
    const auto storage = make_storage(options.fault);
    World world(task.directory(worker), mix(options.seed, worker), limits_of(options), *storage);
    world.names_only = options.names_only;
    try {
      task.work(world, worker);
      return true;
    } catch (const std::exception& error) {
      report_failure(world, options, worker, error);
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "exerciser: FAILED seed={} worker={}: {}\n", options.seed, worker,
               error.what());
  }
  return false;
}

// Holds processes back until all are there, so that none is done before the last one starts.
class Gate {
 public:
  Gate() {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) throw std::system_error(errno, std::system_category());
    wait_here_ = OwnedFd(ends[0]);
    hold_ = OwnedFd(ends[1]);
  }
  // By the parent.
  void open() { hold_ = OwnedFd(); }
  // By each child; returns when the parent has opened the gate.
  void pass() {
    open();
    char nothing = 0;
    if (read(wait_here_.get(), &nothing, 1) != 0) std::abort();
  }

 private:
  OwnedFd wait_here_;
  OwnedFd hold_;
};

// Runs workers in a child process, a thread each; the child's exit status is 0 or 1.
pid_t start_process(const Options& options, uint32_t first_worker, uint32_t workers,
                    const Task& task, Gate& gate) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child != 0) return child;
  gate.pass();
  std::atomic<bool> good = true;
  {
    std::vector<std::jthread> threads;
    for (uint32_t worker = first_worker; worker < first_worker + workers; ++worker) {
      threads.emplace_back([&options, &task, &good, worker] {
        if (!run_worker(options, worker, task)) good = false;
      });
    }
  }
  std::fflush(nullptr);
  _exit(good ? 0 : 1);
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

bool run_all_workers(const Options& options, const Task& task) {
  Gate gate;
  std::vector<pid_t> children;
  for (uint32_t process = 0; process < options.processes; ++process) {
    children.push_back(
        start_process(options, process * options.threads, options.threads, task, gate));
  }
  gate.open();
  return wait_for(children);
}

bool run_own_files(const Options& options) {
  for (uint32_t worker = 0; worker < workers_of(options); ++worker) {
    std::filesystem::create_directory(own_directory(options, worker));
  }
  return run_all_workers(
      options, {[&options](uint32_t worker) { return own_directory(options, worker); },
                [&options](World& world, uint32_t /*worker*/) { work_alone(world, options); }});
}

bool run_shared_part(const Options& options, const SharedPlan& plan, const SharedPart& part) {
  std::filesystem::create_directory(plan.directory);
  part.create(plan);
  const auto directory = [&plan](uint32_t /*worker*/) { return plan.directory; };
  const Task work{directory,
                  [&](World& world, uint32_t worker) { part.work(world, plan, worker); }};
  if (!run_all_workers(options, work)) return false;
  const Task verify{directory,
                    [&](World& world, uint32_t /*worker*/) { part.verify(world, plan); }};
  Gate gate;
  const pid_t verifier = start_process(options, workers_of(options), 1, verify, gate);
  gate.open();
  return wait_for({verifier});
}

std::string shared_directory(const Options& options, const SharedPart& part) {
  return fmt::format("{}/shared-{}", options.directory, part.name);
}

std::array<SharedPart, 3> shared_parts() {
  return {shared_files(), shared_locks(), shared_names()};
}

bool run_shared(const Options& options) {
  const auto parts = shared_parts();
  return std::ranges::all_of(parts, [&](const SharedPart& part) {
    const SharedPlan plan{.directory = shared_directory(options, part),
                          .seed = options.seed,
                          .workers = workers_of(options),
                          .threads = options.threads,
                          .operations_per_worker = options.operations / kSharedShare /
                                                   parts.size() / workers_of(options),
                          .file_bytes = options.max_file_bytes};
    return run_shared_part(options, plan, part);
  });
}

void remove_all(const Options& options) {
  for (uint32_t worker = 0; worker < workers_of(options); ++worker) {
    std::filesystem::remove_all(own_directory(options, worker));
  }
  for (const SharedPart& part : shared_parts()) {
    std::filesystem::remove_all(shared_directory(options, part));
  }
}

bool run(const Options& options) {
  const auto start = SteadyClock::now();
  fmt::print("exerciser: seed={} operations={} processes={} threads={} max-file-size={} dir={}\n",
             options.seed, options.operations, options.processes, options.threads,
             options.max_file_bytes, options.directory);
  std::filesystem::create_directories(options.directory);
  if (!run_own_files(options)) return false;
  if (shared_operations(options) != 0 && !run_shared(options)) return false;
  if (!options.keep) remove_all(options);
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
  app.add_option("--operations", options.operations, "of all workers together");
  app.add_option("--processes", options.processes)->check(CLI::Range(1, 64));
  app.add_option("--threads", options.threads, "of each process")->check(CLI::Range(1, 64));
  app.add_option("--max-file-size", options.max_file_bytes, "such as 4M; holes reach 16 times it")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--max-total-size", options.max_total_bytes, "of all files together")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--time-limit", options.time_limit_s, "seconds; 0 for none");
  app.add_option("--inject-fault", options.fault, "break the file system on purpose")
      ->check(CLI::IsMember(fault_names()));
  app.add_flag("--names-only", options.names_only,
               "names, attributes and links only: nothing that needs the memory of a provider");
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
