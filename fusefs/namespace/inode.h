// One inode as it is kept in memory. Density decides its shape: a file costs one Inode and one
// DirectoryEntry, and everything that most files lack hangs on one pointer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "fusefs/heap_cost.h"
#include "fusefs/namespace/attributes.h"
#include "fusefs/namespace/directory.h"
#include "fusefs/namespace/xattr.h"

namespace rram {

// What directories, symbolic links, devices and files with extended attributes have besides.
struct InodeExtra {
  std::unique_ptr<Directory> directory;  // directories, and only they
  std::string symlink_target;
  XattrTable xattrs;
  std::uint32_t rdev = 0;
};

enum class TimeKind : std::uint8_t { kAccess, kModification, kChange };

// Owned by the namespace's inode table; its address is stable for its life.
struct Inode {
  Ino ino = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t lookup_count = 0;  // references that the kernel holds
  std::unique_ptr<InodeExtra> extra;
  // Three Timestamps, taken apart because each would carry four bytes of padding; by TimeKind.
  std::array<std::int64_t, 3> time_seconds{};
  std::array<std::uint32_t, 3> time_nanoseconds{};
  std::uint32_t mode = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t nlink = 0;
  std::uint32_t open_count : 30 = 0;
  std::uint32_t is_linkable : 1 = 0;  // made without a name; may be given its first one
  std::uint32_t was_linked : 1 = 0;   // has had several names at once

  bool is_directory() const { return rram::is_directory(mode); }

  Timestamp time(TimeKind kind) const {
    const auto index = static_cast<std::size_t>(kind);
    return {.seconds = time_seconds[index], .nanoseconds = time_nanoseconds[index]};
  }
  void set_time(TimeKind kind, const Timestamp& value) {
    const auto index = static_cast<std::size_t>(kind);
    time_seconds[index] = value.seconds;
    time_nanoseconds[index] = value.nanoseconds;
  }
  // The contents changed: mtime and ctime.
  void set_modified(const Timestamp& at) {
    set_time(TimeKind::kModification, at);
    set_time(TimeKind::kChange, at);
  }

  // Precondition: is_directory().
  Directory& directory() { return *extra->directory; }
  const Directory& directory() const { return *extra->directory; }

  InodeExtra& make_extra() {
    if (!extra) {
      extra = std::make_unique<InodeExtra>();
    }
    return *extra;
  }
};

// malloc gives 88 usable bytes for a 96-byte chunk; one member more costs 16 bytes a file.
static_assert(sizeof(Inode) == 88);

// An estimate of the heap that the inode and all that hangs on it take; constant time.
inline std::uint64_t memory_bytes(const Inode& inode) {
  std::uint64_t bytes = heap_cost_bytes(sizeof(Inode));
  if (inode.extra) {
    const InodeExtra& extra = *inode.extra;
    bytes += heap_cost_bytes(sizeof(InodeExtra));
    bytes += extra.symlink_target.capacity() + extra.xattrs.memory_bytes();
    bytes +=
        extra.directory ? heap_cost_bytes(sizeof(Directory)) + extra.directory->memory_bytes() : 0;
  }
  return bytes;
}

}  // namespace rram
