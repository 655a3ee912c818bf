// Reading and writing file data: from a range of a file, through its plan, to lanes and back.
//
// Coroutines of one worker; the buffers lie in the worker's arena and belong to the call until it
// resumes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/result.h"
#include "base/task.h"
#include "fusefs/namespace/attributes.h"
#include "fusefs/namespace/record.h"
#include "fusefs/volume.h"
#include "fusefs/worker.h"

namespace rram {

// What the kernel still holds of files that the daemon needs to have.
class KernelCaches {
 public:
  KernelCaches() = default;
  KernelCaches(const KernelCaches&) = delete;
  KernelCaches& operator=(const KernelCaches&) = delete;

  // The kernel gives inodes up (FORGET) apart from its other requests: what was deleted a moment
  // ago may still hold its blocks. This carries out all that it has given up so far.
  virtual Task<> drain_forgets(Worker& worker) = 0;

  // What programs have written to the range (length 0: to the end) and the kernel has only cached
  // is written by it before this ends. Not while holding the file's gate. False: it was not,
  // because so many requests wait for that already that the writes would find no room for
  // themselves.
  virtual Task<bool> write_back(Worker& worker, Ino ino, std::uint64_t offset,
                                std::uint64_t length) = 0;

 protected:
  ~KernelCaches() = default;
};

// What every call needs; copied into the coroutine.
struct FileIo {
  Volume& volume;
  Worker& worker;
  KernelCaches& caches;
  // Worker::request_deadline_ns() of the request. Deadlines are in the order in which requests
  // came: whoever waited for others of the same file that failed one after the other fails at once.
  std::uint64_t deadline_ns;
};

// Resumes when the kernel's forgets of what was deleted before the call are carried out: all of
// that counts as free (Volume::figures()), and is so once its blocks are dropped and unused.
Task<> settle_space(FileIo io);

// Frees the blocks of what was deleted, in steps between which others have their turn, until the
// worker's work is to end.
Task<> drop_deleted(FileIo io);

// The bytes read: min(buffer.size(), size - offset), 0 at the end of the file.
// `accessed_at`: as for Volume::begin_read().
Task<Result<std::size_t>> read_file(FileIo io, Ino ino, std::uint64_t offset,
                                    std::span<std::byte> buffer,
                                    std::optional<Timestamp> accessed_at);

// The bytes written: all of `data`, or, if `may_be_short`, as many as there was room for. kNoSpace:
// none.
Task<Result<std::size_t>> write_file(FileIo io, Ino ino, std::uint64_t offset,
                                     std::span<std::byte> data, bool may_be_short, Timestamp now);

// Sets the size (and whatever else `change` carries); bytes cut off never come back.
Task<Result<FileStat>> truncate_file(FileIo io, SetAttributes change);

// fallocate(2): space for the range without changing what it reads as; the file grows to its end
// unless `keeps_size`. Where there is not enough space in the beginning, kNoSpace: nothing has
// changed. Where it fails in the middle, some of the range keeps its new space: a provider has
// gone, the memory for block maps has come to its end (kNoSpace, too), or the request is overdue
// (kTimedOut): writes to the file wait for this to end, and their deadlines follow its own.
Task<Status> allocate_range(FileIo io, Ino ino, std::uint64_t offset, std::uint64_t length,
                            bool keeps_size, Timestamp now);

// The range reads as zeros afterwards, and its whole blocks are free. The size stays.
Task<Status> punch_range(FileIo io, Ino ino, std::uint64_t offset, std::uint64_t length,
                         Timestamp now);

// SEEK_DATA and SEEK_HOLE: the first byte from `offset` on that is data, or that is a hole (the end
// of the file is one). kNoSuchOffset: `offset` is not below the size, or no data follows.
Task<Result<std::uint64_t>> seek_data(FileIo io, Ino ino, std::uint64_t offset);
Task<Result<std::uint64_t>> seek_hole(FileIo io, Ino ino, std::uint64_t offset);

// A range of one file that is to be copied to another, or elsewhere in the same one, where the two
// ranges do not overlap.
struct CopyRange {
  Ino from = 0;
  std::uint64_t from_offset = 0;
  Ino to = 0;
  std::uint64_t to_offset = 0;
  std::uint64_t length = 0;
};

// copy_file_range(2), through `buffer`. The bytes copied: fewer at the end of the source, or where
// something went wrong after the first ones. `accessed_at`: as for read_file(), of the source.
Task<Result<std::size_t>> copy_range(FileIo io, CopyRange range, std::span<std::byte> buffer,
                                     std::optional<Timestamp> accessed_at, Timestamp now);

}  // namespace rram
