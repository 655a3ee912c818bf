#pragma once

#include <fcntl.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace rram::exerciser {

// System calls of the exerciser that a test can break: a faulty storage stands in for a broken file
// system, so that a test can see the exerciser find it.
class Storage {
 public:
  Storage() = default;
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  virtual ~Storage() = default;

  // Each answers as the system call does: pwrite(2), renameat2(2), fchmodat(2), and fcntl(2) or
  // flock(2) for a lock, which may wait.
  virtual ssize_t write_at(int fd, std::span<const std::byte> data, uint64_t offset);
  virtual int rename(int from_dir, const char* from, int to_dir, const char* to, unsigned flags);
  virtual int change_mode(int dir, const char* path, mode_t mode);
  virtual int lock_range(int fd, int command, struct flock& range);
  virtual int lock_whole(int fd, int operation);
};

// The faults that can be chosen.
const std::vector<std::string>& fault_names();

// `fault` is "" for the plain storage, or one of
//   flip   one bit of what was written changes afterwards
//   drop   a write is answered but not done
//   shift  a write lands one byte too far
//   rename a rename is answered but not done
//   chmod  a change of mode is answered but not done
// done on every 20th such call, or
//   lock   no lock excludes anybody. Returns null for any other word.
std::unique_ptr<Storage> make_storage(const std::string& fault);

}  // namespace rram::exerciser
