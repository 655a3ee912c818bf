#include "fusefs/mount_table.h"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <sstream>
#include <vector>

extern char** environ;

namespace rram {

namespace {

// The table writes blanks and backslashes of a path as \NNN, in octal.
std::string unescape(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    int value = 0;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 4, value, 8).ptr ==
            text.data() + i + 4) {
      out += static_cast<char>(value);
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

Status detach_by_fusermount(const std::string& mountpoint, bool lazily) {
  std::string program = "fusermount3";
  std::string flags = lazily ? "-uz" : "-u";
  std::string target = mountpoint;
  std::array<char*, 4> arguments = {program.data(), flags.data(), target.data(), nullptr};
  pid_t child = 0;
  if (const int rc =
          ::posix_spawnp(&child, "fusermount3", nullptr, nullptr, arguments.data(), environ);
      rc != 0) {
    return fail_errno(rc, "cannot run fusermount3");
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return fail(ErrorCode::kIo, fmt::format("fusermount3 could not detach {}", mountpoint));
}

}  // namespace

std::optional<MountEntry> find_mount(const std::string& mountpoint) {
  std::ifstream table("/proc/self/mountinfo");
  std::optional<MountEntry> found;
  std::string line;
  while (std::getline(table, line)) {
    // ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [TAGS...] - TYPE SOURCE OPTIONS
    std::istringstream fields(line);
    std::string skipped;
    std::string device;
    std::string path;
    fields >> skipped >> skipped >> device >> skipped >> path;
    if (unescape(path) != mountpoint) continue;
    const std::size_t separator = line.find(" - ");
    if (separator == std::string::npos) continue;
    MountEntry entry;
    std::istringstream(line.substr(separator + 3)) >> entry.type;
    const std::size_t colon = device.find(':');
    std::from_chars(device.data() + colon + 1, device.data() + device.size(), entry.device_minor);
    found = entry;  // a later line is mounted over an earlier one
  }
  return found;
}

bool is_stale(const std::string& mountpoint) {
  struct statfs figures{};
  return ::statfs(mountpoint.c_str(), &figures) != 0 &&
         (errno == ENOTCONN || errno == ECONNABORTED);
}

Status detach(const std::string& mountpoint, bool lazily) {
  if (::geteuid() != 0) return detach_by_fusermount(mountpoint, lazily);
  if (::umount2(mountpoint.c_str(), lazily ? MNT_DETACH : 0) != 0) {
    return fail_errno(errno, fmt::format("cannot detach {}", mountpoint));
  }
  return {};
}

void abort_connection(std::uint64_t device_minor) {
  std::ofstream(fmt::format("/sys/fs/fuse/connections/{}/abort", device_minor)) << "1";
}

}  // namespace rram
