#include "tests/mount/world.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <unordered_set>

namespace rram::exerciser {

OwnedFd::~OwnedFd() {
  if (fd_ >= 0) close(fd_);
}

void PageBuffer::Free::operator()(std::byte* p) const {
  std::free(p);  // NOLINT(cppcoreguidelines-no-malloc): from aligned_alloc
}

PageBuffer::PageBuffer(size_t size_bytes)
    : data_(static_cast<std::byte*>(std::aligned_alloc(FileContent::kPageBytes, size_bytes))) {
  if (!data_) throw std::bad_alloc();
}

World::World(const std::string& directory, uint64_t seed, Limits limits_in, Storage& storage_in)
    : root(directory),
      limits(limits_in),
      chance(seed),
      storage(storage_in),
      root_fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (root_fd.get() < 0) disagree("open {}: {}", directory, std::strerror(errno));
}

bool World::note_unsupported(const std::string& what) {
  if (errno != EOPNOTSUPP && errno != ENOSYS) return false;
  unsupported.insert(what);
  return true;
}

uint64_t World::stored_bytes() const {
  std::unordered_set<const FileModel*> seen;
  uint64_t total = 0;
  const auto add = [&](const FileModel* file) {
    if (file != nullptr && seen.insert(file).second) total += file->content.stored_bytes();
  };
  for (const auto& [path, node] : tree.all()) add(node.file.get());
  for (const Handle& handle : handles) add(handle.model.get());
  return total;
}

std::string shown(const std::string& path) {
  std::string text;
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      text += fmt::format("\\x{:02x}", byte);
    } else {
      text += c;
    }
  }
  return text.size() <= 80 ? text : text.substr(0, 60) + "..." + text.substr(text.size() - 12);
}

}  // namespace rram::exerciser
