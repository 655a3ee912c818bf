#include "tests/mount/storage.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace rram::exerciser {

namespace {

// In the order of fault_names().
enum class Fault : uint8_t { kFlip, kDrop, kShift, kRename, kChmod, kLock };

constexpr uint64_t kCallsPerFault = 20;
// There are few of them, and the next one covers up the last.
constexpr uint64_t kModeChangesPerFault = 3;

class FaultyStorage final : public Storage {
 public:
  explicit FaultyStorage(Fault fault) : fault_(fault) {}

  ssize_t write_at(int fd, std::span<const std::byte> data, uint64_t offset) override {
    const auto length = static_cast<ssize_t>(data.size());
    if (data.empty()) return Storage::write_at(fd, data, offset);
    if (is_turn_of(Fault::kDrop)) return length;
    if (is_turn_of(Fault::kShift)) {
      write_aside(fd, data, offset + 1);
      return length;
    }
    const ssize_t written = Storage::write_at(fd, data, offset);
    if (is_turn_of(Fault::kFlip)) {
      const std::byte flipped = data[data.size() / 2] ^ std::byte{0x10};
      write_aside(fd, {&flipped, 1}, offset + data.size() / 2);
    }
    return written;
  }

  int rename(int from_dir, const char* from, int to_dir, const char* to, unsigned flags) override {
    if (is_turn_of(Fault::kRename)) return 0;
    return Storage::rename(from_dir, from, to_dir, to, flags);
  }

  int change_mode(int dir, const char* path, mode_t mode) override {
    return is_turn_of(Fault::kChmod, kModeChangesPerFault) ? 0
                                                           : Storage::change_mode(dir, path, mode);
  }

  int lock_range(int fd, int command, struct flock& range) override {
    return fault_ == Fault::kLock ? 0 : Storage::lock_range(fd, command, range);
  }

  int lock_whole(int fd, int operation) override {
    return fault_ == Fault::kLock ? 0 : Storage::lock_whole(fd, operation);
  }

 private:
  bool is_turn_of(Fault fault, uint64_t calls_per_fault = kCallsPerFault) {
    return fault == fault_ && ++calls_ % calls_per_fault == 0;
  }

  // Through a descriptor of its own: the caller's may be O_APPEND or O_DIRECT.
  static void write_aside(int fd, std::span<const std::byte> data, uint64_t offset) {
    const int aside = open(fmt::format("/proc/self/fd/{}", fd).c_str(), O_WRONLY | O_CLOEXEC);
    if (aside < 0) return;
    [[maybe_unused]] const ssize_t written =
        pwrite(aside, data.data(), data.size(), static_cast<off_t>(offset));
    close(aside);
  }

  Fault fault_;
  uint64_t calls_ = 0;  // that can be broken
};

}  // namespace

ssize_t Storage::write_at(int fd, std::span<const std::byte> data, uint64_t offset) {
  return pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
}

int Storage::rename(int from_dir, const char* from, int to_dir, const char* to, unsigned flags) {
  return renameat2(from_dir, from, to_dir, to, flags);
}

int Storage::change_mode(int dir, const char* path, mode_t mode) {
  return fchmodat(dir, path, mode, 0);
}

int Storage::lock_range(int fd, int command, struct flock& range) {
  return fcntl(fd, command, &range);
}

int Storage::lock_whole(int fd, int operation) { return flock(fd, operation); }

const std::vector<std::string>& fault_names() {
  static const std::vector<std::string> kNames{"flip", "drop", "shift", "rename", "chmod", "lock"};
  return kNames;
}

std::unique_ptr<Storage> make_storage(const std::string& fault) {
  if (fault.empty()) return std::make_unique<Storage>();
  const auto& names = fault_names();
  const auto found = std::ranges::find(names, fault);
  if (found == names.end()) return nullptr;
  return std::make_unique<FaultyStorage>(static_cast<Fault>(found - names.begin()));
}

}  // namespace rram::exerciser
