// What is mounted where, from the kernel's own table, and taking mounts away.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"

namespace rram {

struct MountEntry {
  std::string type;                // "fuse.rramfs"
  std::uint64_t device_minor = 0;  // the name of a FUSE connection under /sys/fs/fuse/connections
};

// The topmost mount exactly at `mountpoint` (an absolute path without symbolic links).
std::optional<MountEntry> find_mount(const std::string& mountpoint);

// Whether the daemon of the FUSE mount there has died ("Transport endpoint is not connected").
bool is_stale(const std::string& mountpoint);

// Detaches; lazily: at once, and for programs that use it when they stop. As root by umount2(2), as
// a user by fusermount3. kIo: busy or not allowed, with the reason.
Status detach(const std::string& mountpoint, bool lazily);

// Ends the FUSE connection from outside: every request of it fails. Last resort.
void abort_connection(std::uint64_t device_minor);

}  // namespace rram
