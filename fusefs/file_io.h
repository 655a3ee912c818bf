// Reading and writing file data: from a range of a file, through its plan, to lanes and back.
//
// Coroutines of one worker; the buffers lie in the worker's arena and belong to the call until it
// resumes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "base/task.h"
#include "fusefs/namespace/attributes.h"
#include "fusefs/namespace/record.h"
#include "fusefs/volume.h"
#include "fusefs/worker.h"

namespace rram {

// The kernel gives inodes up (FORGET) apart from its other requests: what was deleted a moment ago
// may still hold its blocks. This carries out all that it has given up so far.
class KernelForgets {
 public:
  KernelForgets() = default;
  KernelForgets(const KernelForgets&) = delete;
  KernelForgets& operator=(const KernelForgets&) = delete;
  virtual Task<> drain(Worker& worker) = 0;

 protected:
  ~KernelForgets() = default;
};

// What every call needs; copied into the coroutine.
struct FileIo {
  Volume& volume;
  Worker& worker;
  KernelForgets& forgets;
  // When the request must be answered, on the clock of the worker's loop. It is in the order in
  // which requests came, so whoever waits for others of the same file waits no longer than this.
  std::uint64_t deadline_ns;
};

// Resumes when what was deleted before the call is free space again.
Task<> settle_space(FileIo io);

// The bytes read: min(buffer.size(), size - offset), 0 at the end of the file.
Task<Result<std::size_t>> read_file(FileIo io, Ino ino, std::uint64_t offset,
                                    std::span<std::byte> buffer);

// The bytes written: all of `data`, or, if `may_be_short`, as many as there was room for. kNoSpace:
// none.
Task<Result<std::size_t>> write_file(FileIo io, Ino ino, std::uint64_t offset,
                                     std::span<std::byte> data, bool may_be_short, Timestamp now);

// Sets the size (and whatever else `change` carries); bytes cut off never come back.
Task<Result<FileStat>> truncate_file(FileIo io, SetAttributes change);

// fallocate(2): space for the range without changing what it reads as; the file grows to its end
// unless `keeps_size`.
Task<Status> allocate_range(FileIo io, Ino ino, std::uint64_t offset, std::uint64_t length,
                            bool keeps_size, Timestamp now);

// The range reads as zeros afterwards, and its whole blocks are free. The size stays.
Task<Status> punch_range(FileIo io, Ino ino, std::uint64_t offset, std::uint64_t length,
                         Timestamp now);

}  // namespace rram
