#include "tests/mount/storage.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

namespace rram::exerciser {

namespace {

enum class Fault : uint8_t { kFlip, kDrop, kShift };

constexpr uint64_t kWritesPerFault = 50;

class FaultyStorage final : public Storage {
 public:
  explicit FaultyStorage(Fault fault) : fault_(fault) {}

  ssize_t write_at(int fd, std::span<const std::byte> data, uint64_t offset) override {
    if (data.empty() || ++writes_ % kWritesPerFault != 0) {
      return Storage::write_at(fd, data, offset);
    }
    switch (fault_) {
      case Fault::kDrop:
        return static_cast<ssize_t>(data.size());
      case Fault::kShift:
        write_aside(fd, data, offset + 1);
        return static_cast<ssize_t>(data.size());
      case Fault::kFlip:
        break;
    }
    const ssize_t written = Storage::write_at(fd, data, offset);
    const std::byte flipped = data[data.size() / 2] ^ std::byte{0x10};
    write_aside(fd, {&flipped, 1}, offset + data.size() / 2);
    return written;
  }

 private:
  // Through a descriptor of its own: the caller's may be O_APPEND or O_DIRECT.
  static void write_aside(int fd, std::span<const std::byte> data, uint64_t offset) {
    const int aside = open(fmt::format("/proc/self/fd/{}", fd).c_str(), O_WRONLY | O_CLOEXEC);
    if (aside < 0) return;
    [[maybe_unused]] const ssize_t written =
        pwrite(aside, data.data(), data.size(), static_cast<off_t>(offset));
    close(aside);
  }

  Fault fault_;
  uint64_t writes_ = 0;
};

}  // namespace

ssize_t Storage::write_at(int fd, std::span<const std::byte> data, uint64_t offset) {
  return pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
}

std::unique_ptr<Storage> make_storage(const std::string& fault) {
  if (fault.empty()) return std::make_unique<Storage>();
  if (fault == "flip") return std::make_unique<FaultyStorage>(Fault::kFlip);
  if (fault == "drop") return std::make_unique<FaultyStorage>(Fault::kDrop);
  if (fault == "shift") return std::make_unique<FaultyStorage>(Fault::kShift);
  return nullptr;
}

}  // namespace rram::exerciser
