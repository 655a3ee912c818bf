#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace rram::exerciser {

// How the exerciser writes through a file descriptor. The plain one is pwrite(2); a faulty one
// stands in for a broken file system, so that a test can see the exerciser find it.
class Storage {
 public:
  Storage() = default;
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  virtual ~Storage() = default;

  // Returns the bytes written, or -1 with errno.
  virtual ssize_t write_at(int fd, std::span<const std::byte> data, uint64_t offset);
};

// `fault` is "" for the plain storage, or one of
//   flip   one bit of what was written changes afterwards
//   drop   a write is answered but not done
//   shift  a write lands one byte too far
// done on every 50th write. Returns null for any other word.
std::unique_ptr<Storage> make_storage(const std::string& fault);

}  // namespace rram::exerciser
