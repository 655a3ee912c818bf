#include "fusefs/front/convert.h"

#include <ctime>

namespace rram {

namespace {
constexpr std::uint64_t kStatBlockBytes = 512;  // the unit of st_blocks, by stat(2)
constexpr blksize_t kPreferredIoBytes = 4096;
}  // namespace

// The clock that the kernel stamps with where it does it itself (cached writes): two clocks would
// let a file look older than one that was made before it.
Timestamp wall_clock_now() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return to_timestamp(now);
}

Timestamp to_timestamp(const timespec& time) {
  return {time.tv_sec, static_cast<std::uint32_t>(time.tv_nsec)};
}

namespace {
timespec to_timespec(const Timestamp& time) {
  return {time.seconds, static_cast<long>(time.nanoseconds)};
}
}  // namespace

struct stat to_stat(const FileStat& file) {
  const Attributes& from = file.attributes;
  struct stat to{};
  to.st_ino = from.ino;
  to.st_mode = from.mode;
  to.st_nlink = from.nlink;
  to.st_uid = from.uid;
  to.st_gid = from.gid;
  to.st_rdev = from.rdev;
  to.st_size = static_cast<off_t>(from.size_bytes);
  to.st_blksize = kPreferredIoBytes;
  to.st_blocks = static_cast<blkcnt_t>(file.allocated_bytes / kStatBlockBytes);
  to.st_atim = to_timespec(from.atime);
  to.st_mtim = to_timespec(from.mtime);
  to.st_ctim = to_timespec(from.ctime);
  return to;
}

double attributes_timeout_seconds(const Attributes& attributes) {
  return attributes.was_linked ? 0 : kForeverSeconds;
}

fuse_entry_param to_entry(const FileStat& file) {
  fuse_entry_param entry{};
  entry.ino = file.attributes.ino;
  entry.generation = file.attributes.generation;
  entry.attr = to_stat(file);
  entry.attr_timeout = attributes_timeout_seconds(file.attributes);
  entry.entry_timeout = kForeverSeconds;
  return entry;
}

struct statvfs to_statvfs(const VolumeFigures& figures) {
  struct statvfs to{};
  to.f_bsize = figures.granule_bytes;
  to.f_frsize = figures.granule_bytes;
  to.f_blocks = figures.total_bytes / figures.granule_bytes;
  to.f_bfree = figures.free_bytes / figures.granule_bytes;
  to.f_bavail = to.f_bfree;
  to.f_files = figures.inodes.inodes_max;
  to.f_ffree = figures.inodes.inodes_max - figures.inodes.inodes_used;
  to.f_favail = to.f_ffree;
  to.f_namemax = NamespaceLimits{}.max_name_bytes;
  return to;
}

}  // namespace rram
