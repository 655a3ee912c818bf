// What the file system knows about one inode, as values: the same fields as POSIX stat(2).
#pragma once

#include <sys/stat.h>

#include <compare>
#include <cstdint>

namespace rram {

// The number of an inode. Never 0, never used again after its inode is gone.
using Ino = std::uint64_t;

inline constexpr Ino kRootIno = 1;

// A point in time, as the file system stores it. Comes from the caller; nothing here reads a clock.
struct Timestamp {
  std::int64_t seconds = 0;       // since 1970, UTC; negative is allowed
  std::uint32_t nanoseconds = 0;  // 0 .. 999,999,999
  auto operator<=>(const Timestamp&) const = default;
};

constexpr bool is_valid(const Timestamp& time) { return time.nanoseconds < 1'000'000'000; }

struct Attributes {
  Ino ino = 0;
  std::uint64_t generation =
      0;  // the same for every inode of one namespace, as no number is reused
  std::uint64_t size_bytes = 0;  // regular: length; symbolic link: length of its target; else fixed
  Timestamp atime;
  Timestamp mtime;
  Timestamp ctime;
  std::uint32_t mode = 0;  // type (S_IFMT) and permission bits (07777)
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t nlink = 0;  // 0: unlinked, kept by an open handle or the kernel
  std::uint32_t rdev = 0;   // of character and block devices, as the kernel encodes it; else 0
  bool was_linked = false;  // no directory, and has had several names at once

  bool operator==(const Attributes&) const = default;
};

inline constexpr std::uint32_t kModeTypeBits = S_IFMT;
inline constexpr std::uint32_t kModePermissionBits = 07777;

constexpr bool is_directory(std::uint32_t mode) { return (mode & kModeTypeBits) == S_IFDIR; }
constexpr bool is_regular(std::uint32_t mode) { return (mode & kModeTypeBits) == S_IFREG; }
constexpr bool is_symlink(std::uint32_t mode) { return (mode & kModeTypeBits) == S_IFLNK; }
constexpr bool is_device(std::uint32_t mode) {
  const std::uint32_t type = mode & kModeTypeBits;
  return type == S_IFCHR || type == S_IFBLK;
}

// True if the type bits name one of the seven types that a file system can hold.
constexpr bool has_known_type(std::uint32_t mode) {
  const std::uint32_t type = mode & kModeTypeBits;
  return is_directory(mode) || is_regular(mode) || is_symlink(mode) || is_device(mode) ||
         type == S_IFIFO || type == S_IFSOCK;
}

}  // namespace rram
