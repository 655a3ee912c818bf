#pragma once

#include <fmt/core.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/mount/chance.h"
#include "tests/mount/oracle.h"
#include "tests/mount/storage.h"

namespace rram::exerciser {

// The file system did something else than the oracle says. what() is the whole sentence.
class Mismatch : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <typename... Args>
[[noreturn]] void disagree(fmt::format_string<Args...> format, Args&&... args) {
  throw Mismatch(fmt::format(format, std::forward<Args>(args)...));
}

// An owned file descriptor.
class OwnedFd {
 public:
  OwnedFd() = default;
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    OwnedFd(std::move(other)).swap(*this);
    return *this;
  }
  ~OwnedFd();
  int get() const { return fd_; }
  void swap(OwnedFd& other) noexcept { std::swap(fd_, other.fd_); }

 private:
  int fd_ = -1;
};

// A buffer that starts on a page, as direct I/O wants it.
class PageBuffer {
 public:
  explicit PageBuffer(size_t size_bytes);
  std::span<std::byte> first(size_t count) { return {data_.get(), count}; }
  std::byte* data() { return data_.get(); }

 private:
  struct Free {
    void operator()(std::byte* p) const;
  };
  std::unique_ptr<std::byte, Free> data_;
};

struct Handle {
  OwnedFd fd;
  std::string opened_as;  // the path when it was opened, for messages
  std::shared_ptr<FileModel> model;
  bool append = false;
  bool direct = false;
};

struct Limits {
  uint64_t max_file_bytes = 0;
  uint64_t max_total_bytes = 0;  // of one process
};

// All that one process of the exerciser knows: its directory on the file system under test, the
// oracle of it, open files, and what it did last. Used by one thread.
struct World {
  static constexpr size_t kMaxPieceBytes = size_t{1} << 20;
  static constexpr size_t kLogLines = 60;

  World(const std::string& directory, uint64_t seed, Limits limits_in, Storage& storage_in);

  std::string root;  // absolute path of the directory
  Limits limits;
  Chance chance;
  Storage& storage;
  OwnedFd root_fd;
  Tree tree;
  std::vector<Handle> handles;
  std::set<std::string> unsupported;  // operations that the file system does not offer
  PageBuffer data{kMaxPieceBytes + FileContent::kPageBytes};
  PageBuffer readback{kMaxPieceBytes + FileContent::kPageBytes};
  uint64_t operation = 0;
  bool names_only = false;  // nothing that moves bytes of files
  std::deque<std::string> log;

  template <typename... Args>
  void note(fmt::format_string<Args...> format, Args&&... args) {
    if (log.size() == kLogLines) log.pop_front();
    log.push_back(
        fmt::format("{:>8} {}", operation, fmt::format(format, std::forward<Args>(args)...)));
  }
  // Marks an operation as not offered when errno says so.
  bool note_unsupported(const std::string& what);

  // Sum of the pages that the oracle holds for files that still take space.
  uint64_t stored_bytes() const;
};

// Text of a path for messages: line breaks and other odd bytes are shown as \xNN.
std::string shown(const std::string& path);

}  // namespace rram::exerciser
