// Every bound of the namespace, by name.
#pragma once

#include <cstdint>

namespace rram {

struct NamespaceLimits {
  // Inodes that may exist at once: the root, and those without a name that are still open,
  // included.
  std::uint64_t max_inodes = std::uint64_t{1} << 32;

  // Of this host, for the inodes and directories, as usage() estimates it, and what the owner
  // counts besides. Nothing is added above it; the last addition may pass it.
  std::uint64_t max_memory_bytes = ~std::uint64_t{0};

  // NAME_MAX of every Linux file system. At most 255: a directory entry keeps its length in a byte.
  std::uint32_t max_name_bytes = 255;

  // PATH_MAX less the final NUL: the kernel takes no longer target.
  std::uint32_t max_symlink_bytes = 4095;

  // Hard links of a file, and 2 + subdirectories of a directory. As XFS, and not the 65,000 of
  // ext4: a link costs no more than its entry, real trees have directories with more than 65,000
  // subdirectories, and a signed 32-bit count still fits every program that reads st_nlink.
  std::uint32_t max_links = 0x7fff'ffff;

  // Of one regular file: what an off_t holds, as tmpfs. The kernel knows no smaller limit of a FUSE
  // file system: it would cache what can never be written.
  std::uint64_t max_file_bytes = (std::uint64_t{1} << 63) - 1;

  // Extended attributes. The first three are the kernel's own limits (XATTR_NAME_MAX,
  // XATTR_SIZE_MAX, XATTR_LIST_MAX): a list that outgrew the third could never be read again.
  std::uint32_t max_xattr_name_bytes = 255;
  std::uint32_t max_xattr_value_bytes = 64 * 1024;
  std::uint32_t max_xattr_list_bytes = 64 * 1024;    // per inode: sum of (name + 1)
  std::uint32_t max_xattr_total_bytes = 128 * 1024;  // per inode: sum of (name + value)
};

inline constexpr std::uint32_t kMaxEntryNameBytes = 255;

}  // namespace rram
