// rram-metadata DIRECTORY --processes P --files N --bytes B: how many small files a second can be
// created, looked at and unlinked. Prints one JSON object. Each process works in a directory of its
// own; a phase begins when the one before it has ended in every process.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

namespace {

constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
// The kernel tells a FUSE daemon in the background which inodes it dropped.
constexpr timespec kAfterDropping = {.tv_sec = 0, .tv_nsec = 300'000'000};

struct Settings {
  std::string directory;
  unsigned processes = 1;
  std::uint64_t files = 5000;  // of each process
  std::size_t size_bytes = 4096;
  bool drop_caches = false;  // before the stat phase, so that it asks the file system (root only)
};

// What a process tells its parent through shared memory.
struct PhaseTimes {
  std::uint64_t begin_ns;
  std::uint64_t end_ns;
};

std::uint64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kNsPerSecond +
         static_cast<std::uint64_t>(now.tv_nsec);
}

bool complain(const char* what, const std::string& path) {
  fmt::print(stderr, "rram-metadata: {} {}: {}\n", what, path, std::strerror(errno));
  return false;
}

std::string directory_of(const Settings& settings, unsigned process) {
  return fmt::format("{}/metadata.{}", settings.directory, process);
}

bool create_file(const std::string& path, const std::vector<char>& content) {
  const int fd = ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
  if (fd < 0) return complain("create", path);
  const ssize_t written = ::write(fd, content.data(), content.size());
  const bool complete = written == static_cast<ssize_t>(content.size());
  if (!complete) complain("write", path);
  if (::close(fd) != 0) return complain("close", path);
  return complete;
}

bool look_at_file(const std::string& path, std::size_t size_bytes) {
  struct stat attributes{};
  if (::stat(path.c_str(), &attributes) != 0) return complain("stat", path);
  if (static_cast<std::size_t>(attributes.st_size) == size_bytes) return true;
  fmt::print(stderr, "rram-metadata: {} has {} bytes\n", path, attributes.st_size);
  return false;
}

bool unlink_file(const std::string& path) {
  return ::unlink(path.c_str()) == 0 || complain("unlink", path);
}

enum class Phase : std::uint8_t { kCreate, kStat, kUnlink };

// All of one process's part of a phase.
bool work(const Settings& settings, Phase phase, unsigned process) {
  const std::vector<char> content(settings.size_bytes, 'm');
  const std::string prefix = directory_of(settings, process) + "/";
  for (std::uint64_t file = 0; file < settings.files; ++file) {
    const std::string path = prefix + std::to_string(file);
    bool done = false;
    switch (phase) {
      case Phase::kCreate:
        done = create_file(path, content);
        break;
      case Phase::kStat:
        done = look_at_file(path, settings.size_bytes);
        break;
      case Phase::kUnlink:
        done = unlink_file(path);
        break;
    }
    if (!done) return false;
  }
  return true;
}

// Forks the processes of one phase. The rate of all of them, in files a second; 0 if one failed.
double run_phase(const Settings& settings, Phase phase, PhaseTimes* times) {
  std::vector<pid_t> children;
  for (unsigned process = 0; process < settings.processes; ++process) {
    const pid_t child = ::fork();
    if (child == 0) {
      times[process].begin_ns = now_ns();
      const bool done = work(settings, phase, process);
      times[process].end_ns = now_ns();
      ::_exit(done ? 0 : 1);
    }
    if (child > 0) children.push_back(child);
  }
  bool all_done = children.size() == settings.processes;
  for (const pid_t child : children) {
    int status = 0;
    if (::waitpid(child, &status, 0) != child || status != 0) all_done = false;
  }
  if (!all_done) return 0;
  std::uint64_t begin_ns = UINT64_MAX;
  std::uint64_t end_ns = 0;
  for (unsigned process = 0; process < settings.processes; ++process) {
    begin_ns = std::min(begin_ns, times[process].begin_ns);
    end_ns = std::max(end_ns, times[process].end_ns);
  }
  const double seconds = static_cast<double>(end_ns - begin_ns) / static_cast<double>(kNsPerSecond);
  return static_cast<double>(settings.files * settings.processes) / seconds;
}

// Directory entries and inodes of the whole host: there is no narrower way.
bool drop_caches() {
  const std::string path = "/proc/sys/vm/drop_caches";
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return complain("open", path);
  const bool dropped = ::write(fd, "2", 1) == 1 || complain("write", path);
  ::close(fd);
  ::nanosleep(&kAfterDropping, nullptr);
  return dropped;
}

bool measure(const Settings& settings) {
  void* shared = ::mmap(nullptr, settings.processes * sizeof(PhaseTimes), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return complain("mmap", "shared memory");
  auto* times = static_cast<PhaseTimes*>(shared);
  for (unsigned process = 0; process < settings.processes; ++process) {
    const std::string directory = directory_of(settings, process);
    if (::mkdir(directory.c_str(), 0755) != 0) return complain("mkdir", directory);
  }
  const double creates = run_phase(settings, Phase::kCreate, times);
  if (settings.drop_caches && !drop_caches()) return false;
  const double stats = run_phase(settings, Phase::kStat, times);
  const double unlinks = run_phase(settings, Phase::kUnlink, times);
  for (unsigned process = 0; process < settings.processes; ++process) {
    const std::string directory = directory_of(settings, process);
    if (::rmdir(directory.c_str()) != 0) return complain("rmdir", directory);
  }
  fmt::print(
      "{{\"processes\": {}, \"files\": {}, \"size_bytes\": {}, \"create_per_second\": {:.1f}, "
      "\"stat_per_second\": {:.1f}, \"unlink_per_second\": {:.1f}}}\n",
      settings.processes, settings.files * settings.processes, settings.size_bytes, creates, stats,
      unlinks);
  return creates > 0 && stats > 0 && unlinks > 0;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app{"Creates, looks at and unlinks small files, and says how many a second."};
  app.add_option("DIRECTORY", settings.directory)->required();
  app.add_option("--processes", settings.processes)->check(CLI::Range(1U, 256U));
  app.add_option("--files", settings.files, "of each process")->check(CLI::PositiveNumber);
  app.add_option("--bytes", settings.size_bytes, "written into each");
  app.add_flag("--drop-caches", settings.drop_caches,
               "drop the host's cached names and inodes before the stat phase (root)");
  CLI11_PARSE(app, argc, argv);
  return measure(settings) ? 0 : 1;
}
