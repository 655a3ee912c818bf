// Calls about data: opening, reading, writing, cutting, holes.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

#include "tests/mount/differential/call.h"
#include "tests/mount/differential/look.h"

namespace rram::differential {

namespace {

// Never waits for the other end of a pipe.
constexpr int kAlways = O_NONBLOCK | O_CLOEXEC;

void replace_handle(int& handle, int opened) {
  if (handle >= 0) close(handle);
  handle = opened;
}

void call_open(Call& call) {
  int& handle = call.handle();
  const std::string path = call.path();
  const int flags = call.pick({O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_CREAT, O_RDWR | O_CREAT,
                               O_WRONLY | O_CREAT, O_RDWR | O_CREAT | O_EXCL}) |
                    call.some_of({O_TRUNC, O_APPEND}, 6) |
                    call.some_of({O_DIRECTORY, O_NOFOLLOW, O_SYNC}, 20);
  const mode_t mode = call.mode();
  call.say(" {} {:#o} {:o}", path, flags, mode);
  const int opened = open(path.c_str(), flags | kAlways, mode);
  call.answer(opened < 0 ? -1 : 0);
  replace_handle(handle, opened);
}

void call_tmpfile(Call& call) {
  int& handle = call.handle();
  const std::string path = call.path();
  const int flags = call.pick({O_RDWR, O_RDWR, O_WRONLY, O_RDONLY}) | call.some_of({O_EXCL}, 6);
  const mode_t mode = call.mode();
  call.say(" {} {:#o} {:o}", path, flags, mode);
  const int opened = open(path.c_str(), flags | O_TMPFILE | kAlways, mode);
  call.answer(opened < 0 ? -1 : 0);
  replace_handle(handle, opened);
}

void call_close(Call& call) {
  int& handle = call.handle();
  call.answer(close(handle));
  handle = -1;
}

void call_pread(Call& call) {
  const int handle = call.handle();
  std::vector<char> buffer(call.length());
  const auto offset = static_cast<off_t>(call.offset());
  call.say(" {} at {}", buffer.size(), offset);
  const ssize_t bytes = pread(handle, buffer.data(), buffer.size(), offset);
  call.answer(bytes);
  if (bytes > 0) call.detail("{:x}", hash_of(buffer.data(), static_cast<std::size_t>(bytes)));
}

void call_read(Call& call) {
  const int handle = call.handle();
  std::vector<char> buffer(call.length());
  call.say(" {}", buffer.size());
  const ssize_t bytes = read(handle, buffer.data(), buffer.size());
  call.answer(bytes);
  if (bytes > 0) call.detail("{:x}", hash_of(buffer.data(), static_cast<std::size_t>(bytes)));
}

std::vector<std::byte> pattern(Call& call) {
  std::vector<std::byte> bytes(call.length());
  exerciser::fill_pattern(call.chance.next(), bytes);
  return bytes;
}

void call_write(Call& call) {
  const int handle = call.handle();
  const std::vector<std::byte> bytes = pattern(call);
  call.say(" {}", bytes.size());
  call.answer(write(handle, bytes.data(), bytes.size()));
}

void call_pwrite(Call& call) {
  const int handle = call.handle();
  const std::vector<std::byte> bytes = pattern(call);
  const auto offset = static_cast<off_t>(call.offset());
  call.say(" {} at {}", bytes.size(), offset);
  call.answer(pwrite(handle, bytes.data(), bytes.size(), offset));
}

// Positions in a directory are every file system's own.
bool is_directory(int handle) {
  struct stat status{};
  return fstat(handle, &status) == 0 && S_ISDIR(status.st_mode);
}

void call_seek(Call& call) {
  const int handle = call.handle();
  const int whence = call.pick({SEEK_SET, SEEK_CUR, SEEK_END});
  const auto offset = static_cast<off_t>(call.offset()) * call.pick({1, 1, 1, -1});
  call.say(" {} {}", offset, whence);
  if (!is_directory(handle)) call.answer(lseek(handle, offset, whence));
}

void call_seek_data(Call& call) {
  const int handle = call.handle();
  const int whence = call.pick({SEEK_DATA, SEEK_HOLE});
  const auto offset = static_cast<off_t>(call.offset());
  call.say(" {} {}", offset, whence == SEEK_DATA ? "data" : "hole");
  if (is_directory(handle)) return;
  struct stat status{};
  off_t found = lseek(handle, offset, whence);
  // Where data ends is every file system's own (the comparison of the tree sees what it hides):
  // only whether there is an answer counts.
  const bool is_answer = found >= 0 || errno == ENXIO;
  if (is_answer && fstat(handle, &status) == 0 && offset < status.st_size) {
    found = lseek(handle, offset, SEEK_SET);
  }
  call.answer(found);
}

void call_truncate(Call& call) {
  const std::string path = call.path();
  auto size = static_cast<off_t>(call.offset());
  // To the size that it has already: whether that stamps the file is every file system's own.
  struct stat status{};
  if (stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && status.st_size == size) {
    ++size;
  }
  call.say(" {} {}", path, size);
  call.answer(truncate(path.c_str(), size));
}

void call_ftruncate(Call& call) {
  const int handle = call.handle();
  const auto size = static_cast<off_t>(call.offset());
  call.say(" {}", size);
  call.answer(ftruncate(handle, size));
}

void fallocate_with(Call& call, int mode) {
  const int handle = call.handle();
  const auto offset = static_cast<off_t>(call.chance.below(600000));
  const auto length = static_cast<off_t>(call.length());
  call.say(" {:#x} {} {}", mode, offset, length);
  call.answer(fallocate(handle, mode, offset, length));
}

void call_fallocate(Call& call) { fallocate_with(call, call.pick({0, FALLOC_FL_KEEP_SIZE})); }
void call_punch_hole(Call& call) {
  fallocate_with(call, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
}
void call_zero_range(Call& call) {
  fallocate_with(call, FALLOC_FL_ZERO_RANGE | call.some_of({FALLOC_FL_KEEP_SIZE}, 2));
}
void call_fallocate_refused(Call& call) {
  fallocate_with(call, call.pick({FALLOC_FL_PUNCH_HOLE, 0x1000, 0x3000}));
}

void call_copy_file_range(Call& call) {
  const int from = call.handle();
  const int to = call.handle();
  auto from_offset = static_cast<off64_t>(call.offset());
  auto to_offset = static_cast<off64_t>(call.offset());
  const std::size_t length = call.length() * call.pick({1U, 1U, 5U});
  call.say(" from {} to {} length {}", from_offset, to_offset, length);
  // Nothing that would take long: a sparse source is copied as zeros.
  call.answer(copy_file_range(from, &from_offset, to, &to_offset, length, 0));
}

void call_map(Call& call) {
  const int handle = call.handle();
  constexpr std::size_t kBytes = 4096;
  const auto offset = static_cast<off_t>(call.chance.below(8) * kBytes);
  const std::uint64_t tag = call.chance.next();
  const bool writes = geteuid() == 0;
  call.say(" {}", offset);
  struct stat status{};
  void* memory =
      mmap(nullptr, kBytes, PROT_READ | (writes ? PROT_WRITE : 0), MAP_SHARED, handle, offset);
  call.answer(memory == MAP_FAILED ? -1 : 0);
  if (memory == MAP_FAILED) return;
  // Behind the end of the file there is nothing to touch but SIGBUS.
  if (fstat(handle, &status) == 0 && status.st_size > offset) {
    call.detail("{:x}", hash_of(memory, kBytes));
    const auto inside = static_cast<std::size_t>(status.st_size - offset);
    const std::span bytes(static_cast<std::byte*>(memory), std::min(inside, kBytes));
    if (writes) exerciser::fill_pattern(tag, bytes);
    // When a store into a mapping shows in the times is every file system's own (tmpfs: never).
    if (writes) futimens(handle, nullptr);
  }
  munmap(memory, kBytes);
}

void call_fsync(Call& call) {
  const int handle = call.handle();
  call.answer(call.chance.one_in(2) ? fsync(handle) : fdatasync(handle));
}

constexpr std::array kCalls{
    CallKind{"open", 80, call_open},
    CallKind{"tmpfile", 10, call_tmpfile},
    CallKind{"close", 10, call_close},
    CallKind{"pread", 30, call_pread},
    CallKind{"read", 20, call_read},
    CallKind{"write", 30, call_write},
    CallKind{"pwrite", 40, call_pwrite},
    CallKind{"seek", 10, call_seek},
    CallKind{"seek-data", 20, call_seek_data},
    CallKind{"truncate", 10, call_truncate},
    CallKind{"ftruncate", 15, call_ftruncate},
    CallKind{"fallocate", 10, call_fallocate},
    CallKind{"punch-hole", 10, call_punch_hole},
    CallKind{"zero-range", 10, call_zero_range},
    CallKind{"fallocate-refused", 3, call_fallocate_refused},
    CallKind{"copy-file-range", 10, call_copy_file_range},
    CallKind{"map", 15, call_map},
    CallKind{"fsync", 5, call_fsync},
};

}  // namespace

std::span<const CallKind> data_calls() { return kCalls; }

}  // namespace rram::differential
