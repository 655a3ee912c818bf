#include "tests/mount/differential/look.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "tests/mount/chance.h"

namespace rram::differential {

namespace {

constexpr time_t kDay = 24 * 60 * 60;
constexpr std::size_t kReadBytes = std::size_t{64} << 10;

timespec coarse_now() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return now;
}

bool is_before(const timespec& a, const timespec& b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

}  // namespace

Clock Clock::start() { return {.started = coarse_now()}; }

void Clock::set_mark() {
  // Some file systems stamp with the fine clock, which is ahead of the coarse one.
  timespec before{};
  clock_gettime(CLOCK_REALTIME, &before);
  do {
    mark = coarse_now();
  } while (!is_before(before, mark));
  has_mark = true;
}

std::string Clock::text(const timespec& time) const {
  const bool is_own = time.tv_sec > started.tv_sec - kDay && time.tv_sec < started.tv_sec + kDay;
  if (!is_own) return fmt::format("{}.{:09}", time.tv_sec, time.tv_nsec);
  if (!has_mark) return "now";
  return is_before(time, mark) ? "old" : "new";
}

std::string stat_text(const struct stat& status, const Clock& clock) {
  std::string text = fmt::format("{:o} {}:{} links {}", status.st_mode, status.st_uid,
                                 status.st_gid, status.st_nlink);
  if (!S_ISDIR(status.st_mode)) text += fmt::format(" size {}", status.st_size);
  if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) {
    text += fmt::format(" device {}:{}", major(status.st_rdev), minor(status.st_rdev));
  }
  // A write to a pipe is the kernel's alone: FUSE does not tell the file system of it.
  if (S_ISFIFO(status.st_mode)) return text;
  return text + fmt::format(" a {} m {} c {}", clock.text(status.st_atim),
                            clock.text(status.st_mtim), clock.text(status.st_ctim));
}

std::string look_at_path(const std::string& path, const Clock& clock) {
  struct stat status{};
  if (lstat(path.c_str(), &status) != 0) return strerrorname_np(errno);
  return stat_text(status, clock);
}

std::string look_at_handle(int handle, const Clock& clock) {
  struct stat status{};
  if (fstat(handle, &status) != 0) return strerrorname_np(errno);
  // Positions in a directory are every file system's own.
  if (S_ISDIR(status.st_mode)) return stat_text(status, clock);
  return stat_text(status, clock) + fmt::format(" at {}", lseek(handle, 0, SEEK_CUR));
}

std::uint64_t hash_of(const void* bytes, std::size_t size) {
  // FNV-1a.
  std::uint64_t hash = 0xcbf29ce484222325;
  for (std::size_t i = 0; i < size; ++i) {
    hash = (hash ^ static_cast<const unsigned char*>(bytes)[i]) * 0x100000001b3;
  }
  return hash;
}

namespace {

std::string xattrs_text(const std::string& path) {
  std::array<char, XATTR_LIST_MAX> list{};
  const ssize_t list_bytes = llistxattr(path.c_str(), list.data(), list.size());
  if (list_bytes < 0) return fmt::format(" xattrs {}", strerrorname_np(errno));
  std::vector<std::string> texts;
  for (const char* name = list.data(); name < list.data() + list_bytes;
       name += std::strlen(name) + 1) {
    std::vector<char> value(XATTR_SIZE_MAX);
    const ssize_t bytes = lgetxattr(path.c_str(), name, value.data(), value.size());
    texts.push_back(bytes < 0 ? fmt::format(" {}={}", name, strerrorname_np(errno))
                              : fmt::format(" {}={}:{:x}", name, bytes,
                                            hash_of(value.data(), static_cast<size_t>(bytes))));
  }
  std::ranges::sort(texts);
  std::string text;
  for (const std::string& one : texts) text += one;
  return text;
}

// A number for the bytes and where they stand in the file. Zeros count nothing: whether they are
// data or a hole is every file system's own.
std::uint64_t hash_at(off_t offset, std::span<const char> bytes) {
  std::uint64_t hash = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    hash += byte * exerciser::mix(static_cast<std::uint64_t>(offset) + i, byte);
  }
  return hash;
}

// What stands in the data of a file, which is all that is not zero if SEEK_DATA and SEEK_HOLE are
// right.
std::string contents_text(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_NONBLOCK);
  if (file < 0) return fmt::format(" contents {}", strerrorname_np(errno));
  std::vector<char> buffer(kReadBytes);
  std::uint64_t hash = 0;
  off_t data = 0;
  while ((data = lseek(file, data, SEEK_DATA)) >= 0) {
    const off_t hole = lseek(file, data, SEEK_HOLE);
    while (data < hole) {
      const auto wanted = static_cast<size_t>(std::min<off_t>(hole - data, kReadBytes));
      const ssize_t got = pread(file, buffer.data(), wanted, data);
      if (got <= 0) return fmt::format(" read {}", got < 0 ? strerrorname_np(errno) : "end");
      hash += hash_at(data, std::span(buffer).first(static_cast<std::size_t>(got)));
      data += got;
    }
  }
  close(file);
  return fmt::format(" contents {:x}", hash);
}

struct DirCloser {
  void operator()(DIR* stream) const { closedir(stream); }
};
using DirHandle = std::unique_ptr<DIR, DirCloser>;

class TreeWalk {
 public:
  explicit TreeWalk(const Clock& clock) : clock_(clock) {}

  std::string walk(const std::string& directory) {
    std::vector<std::string> names;
    const DirHandle stream(opendir(directory.c_str()));
    if (!stream) return fmt::format("{}: {}\n", directory, strerrorname_np(errno));
    while (const dirent* entry = readdir(stream.get())) names.emplace_back(entry->d_name);
    std::ranges::sort(names);
    std::string text;
    for (const std::string& name : names) {
      if (name != "." && name != "..") text += look(fmt::format("{}/{}", directory, name));
    }
    return text;
  }

 private:
  std::string look(const std::string& path) {
    struct stat status{};
    if (lstat(path.c_str(), &status) != 0) {
      return fmt::format("{}: {}\n", path, strerrorname_np(errno));
    }
    // Two names of one inode carry the same number, which does not depend on the file system.
    const auto inode = inodes_.try_emplace(status.st_ino, inodes_.size()).first->second;
    std::string text = fmt::format("{}: inode {} {}", path, inode, stat_text(status, clock_));
    text += xattrs_text(path);
    if (S_ISREG(status.st_mode)) text += contents_text(path);
    text += "\n";
    if (S_ISDIR(status.st_mode)) text += walk(path);
    return text;
  }

  const Clock& clock_;
  std::map<ino_t, std::size_t> inodes_;
};

}  // namespace

std::string look_at_tree(const Clock& clock) { return TreeWalk(clock).walk("."); }

}  // namespace rram::differential
