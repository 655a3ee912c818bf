#include "tests/mount/verify.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <map>
#include <vector>

namespace rram::exerciser {

namespace {

struct Difference {
  size_t first = 0;
  size_t count = 0;
};

Difference compare(std::span<const std::byte> expected, std::span<const std::byte> got) {
  Difference difference;
  for (size_t i = 0; i < got.size(); ++i) {
    if (expected[i] == got[i]) continue;
    if (difference.count == 0) difference.first = i;
    ++difference.count;
  }
  return difference;
}

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes.first(std::min<size_t>(bytes.size(), 16))) {
    text += fmt::format("{:02x} ", std::to_integer<int>(byte));
  }
  return text;
}

void verify_range(World& world, int fd, const FileModel& expected, uint64_t offset, uint64_t end,
                  const std::string& where) {
  while (offset < end) {
    const size_t want = std::min<uint64_t>(end - offset, World::kMaxPieceBytes);
    const auto got = world.readback.first(want);
    const ssize_t count = pread(fd, got.data(), want, static_cast<off_t>(offset));
    if (count < 0) disagree("{}: read at {}: {}", where, offset, std::strerror(errno));
    if (count == 0) disagree("{}: end of file at {}, expected {}", where, offset, end);
    expect_bytes(expected.content, offset, got.first(static_cast<size_t>(count)), where);
    offset += static_cast<uint64_t>(count);
  }
}

}  // namespace

void verify_attributes(int fd, const FileModel& expected, const std::string& where) {
  struct stat attributes{};
  if (fstat(fd, &attributes) != 0) disagree("{}: fstat: {}", where, std::strerror(errno));
  const auto size_bytes = static_cast<uint64_t>(attributes.st_size);
  if (size_bytes != expected.content.size_bytes()) {
    disagree("{}: size {}, expected {}", where, size_bytes, expected.content.size_bytes());
  }
  if (attributes.st_nlink != expected.links) {
    disagree("{}: {} links, expected {}", where, attributes.st_nlink, expected.links);
  }
  if ((attributes.st_mode & 07777U) != expected.mode) {
    disagree("{}: mode {:o}, expected {:o}", where, attributes.st_mode & 07777U, expected.mode);
  }
  if (attributes.st_uid != expected.uid || attributes.st_gid != expected.gid) {
    disagree("{}: owner {}:{}, expected {}:{}", where, attributes.st_uid, attributes.st_gid,
             expected.uid, expected.gid);
  }
}

namespace {

std::map<std::string, unsigned char> read_directory(const World& world, const std::string& path) {
  const std::string full = path.empty() ? world.root : world.root + "/" + path;
  DIR* directory = opendir(full.c_str());
  if (directory == nullptr) disagree("opendir {}: {}", shown(path), std::strerror(errno));
  std::map<std::string, unsigned char> names;
  std::string duplicate;
  errno = 0;
  while (const dirent* entry = readdir(directory)) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (!names.emplace(name, entry->d_type).second) duplicate = name;
  }
  const int error = errno;
  closedir(directory);
  if (error != 0) disagree("readdir {}: {}", shown(path), std::strerror(error));
  if (!duplicate.empty()) disagree("{}: {} is listed twice", shown(path), shown(duplicate));
  return names;
}

bool listed_as(unsigned char type, const Node& node) {
  return type == DT_UNKNOWN || type == IFTODT(type_of(node));
}

void verify_listing(const World& world, const std::string& path) {
  const auto expected = world.tree.list(path);
  const auto got = read_directory(world, path);
  for (const auto& [name, node] : expected) {
    const auto found = got.find(name);
    if (found == got.end()) disagree("{}: {} is not listed", shown(path), shown(name));
    if (!listed_as(found->second, *node)) {
      disagree("{}/{} is listed with type {}", shown(path), shown(name), found->second);
    }
  }
  for (const auto& [name, type] : got) {
    if (!expected.contains(name)) disagree("{}: {} must not exist", shown(path), shown(name));
  }
}

void verify_symlink(const World& world, const std::string& path, const std::string& target) {
  std::array<char, PATH_MAX> text{};
  const ssize_t count = readlinkat(world.root_fd.get(), path.c_str(), text.data(), text.size());
  if (count < 0) disagree("readlink {}: {}", shown(path), std::strerror(errno));
  const std::string got(text.data(), static_cast<size_t>(count));
  if (got != target) disagree("{} points to {}, expected {}", shown(path), got, target);
}

}  // namespace

uint32_t type_of(const Node& node) {
  switch (node.kind) {
    case NodeKind::kFile:
      return S_IFREG;
    case NodeKind::kDirectory:
      return S_IFDIR;
    case NodeKind::kSymlink:
      return S_IFLNK;
    case NodeKind::kSpecial:
      return node.special.type;
  }
  return 0;
}

void expect_bytes(const FileContent& expected, uint64_t offset, std::span<const std::byte> got,
                  const std::string& where) {
  if (got.empty()) return;  // an empty span may have no address, which memcmp must not get
  std::vector<std::byte> wanted(got.size());
  expected.read(offset, wanted);
  if (std::memcmp(wanted.data(), got.data(), got.size()) == 0) return;
  const Difference difference = compare(wanted, got);
  const auto tail = std::span<const std::byte>(wanted).subspan(difference.first);
  disagree(
      "{}: first differing offset {} (of {} bytes read at {}, {} differ; size {})\n"
      "    expected {}\n    got      {}",
      where, offset + difference.first, got.size(), offset, difference.count, expected.size_bytes(),
      hex(tail), hex(got.subspan(difference.first)));
}

void verify_file(World& world, int fd, const FileModel& expected, const std::string& where) {
  verify_attributes(fd, expected, where);
  const uint64_t size_bytes = expected.content.size_bytes();
  if (size_bytes <= 2 * world.limits.max_file_bytes) {
    verify_range(world, fd, expected, 0, size_bytes, where);
    return;
  }
  constexpr uint64_t kMargin = FileContent::kPageBytes;
  uint64_t done = 0;
  for (const uint64_t page : expected.content.page_offsets()) {
    const uint64_t begin = std::max(done, page < kMargin ? 0 : page - kMargin);
    const uint64_t end = std::min(size_bytes, page + 2 * kMargin);
    if (begin < end) verify_range(world, fd, expected, begin, end, where);
    done = std::max(done, end);
  }
  verify_range(world, fd, expected, std::max(done, size_bytes - kMargin), size_bytes, where);
}

void verify_names(World& world) {
  verify_listing(world, "");
  for (const auto& [path, node] : world.tree.all()) {
    if (node.kind == NodeKind::kDirectory) verify_listing(world, path);
    if (node.kind == NodeKind::kSymlink) verify_symlink(world, path, node.target);
  }
}

void drop_cached_pages(int fd) {
  if (fsync(fd) != 0) disagree("fsync: {}", std::strerror(errno));
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

OwnedFd reopen_for_reading(int fd) {
  OwnedFd again(open(fmt::format("/proc/self/fd/{}", fd).c_str(), O_RDONLY | O_CLOEXEC));
  if (again.get() < 0) disagree("open by /proc/self/fd: {}", std::strerror(errno));
  return again;
}

void verify_everything(World& world) {
  verify_names(world);
  for (const auto& [path, node] : world.tree.all()) {
    if (node.kind != NodeKind::kFile) continue;
    const OwnedFd fd(openat(world.root_fd.get(), path.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0) disagree("open {}: {}", shown(path), std::strerror(errno));
    verify_file(world, fd.get(), *node.file, shown(path));
    drop_cached_pages(fd.get());
    verify_file(world, fd.get(), *node.file, shown(path) + " (read again from storage)");
  }
  for (const Handle& handle : world.handles) {
    const OwnedFd fd = reopen_for_reading(handle.fd.get());
    drop_cached_pages(fd.get());
    verify_file(world, fd.get(), *handle.model, "open file " + shown(handle.opened_as));
  }
}

}  // namespace rram::exerciser
