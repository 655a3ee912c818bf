#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "tests/mount/operations.h"
#include "tests/mount/verify.h"

namespace rram::exerciser {

namespace {

constexpr uint64_t kPage = FileContent::kPageBytes;
constexpr uint64_t kMaxMappedBytes = 64 * kPage;

// A mapping of part of a file for the time of one operation. `bytes` is the range asked for,
// which may begin anywhere in the first page.
class Mapping {
 public:
  Mapping(int fd, uint64_t offset, uint64_t length, int protection, int flags)
      : mapped_bytes_(offset % kPage + length),
        base_(mmap(nullptr, mapped_bytes_, protection, flags, fd,
                   static_cast<off_t>(offset / kPage * kPage))),
        bytes_(static_cast<std::byte*>(base_) + offset % kPage, length) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (ok()) munmap(base_, mapped_bytes_);
  }
  bool ok() const { return base_ != MAP_FAILED; }
  std::span<std::byte> bytes() const { return bytes_; }
  int sync(int flags) const { return msync(base_, mapped_bytes_, flags); }

 private:
  size_t mapped_bytes_;
  void* base_;
  std::span<std::byte> bytes_;
};

struct Target {
  Handle* handle = nullptr;
  uint64_t offset = 0;
  uint64_t length = 0;
};

// A range that lies wholly in the file; no handle when no open file has bytes.
Target pick_existing_range(World& world) {
  Handle* handle = pick_handle(world);
  if (handle == nullptr || handle->model->content.size_bytes() == 0) return {};
  const uint64_t size_bytes = handle->model->content.size_bytes();
  const uint64_t offset = world.chance.below(size_bytes);
  const uint64_t reach = std::min(size_bytes - offset, kMaxMappedBytes);
  return {handle, offset, std::min(world.chance.between(1, reach), pick_length(world))};
}

// A file system may refuse shared mappings (ENODEV); that is noted, not taken as an error.
bool mapped(World& world, const Mapping& mapping, const char* kind) {
  if (mapping.ok()) return true;
  if (errno != ENODEV) disagree("mmap {}: {}", kind, std::strerror(errno));
  world.unsupported.insert(kind);
  return false;
}

bool write_through_mapping(World& world) {
  const Target target = pick_existing_range(world);
  if (target.handle == nullptr) return false;
  world.note("mmap shared write {} offset {} length {}", shown(target.handle->opened_as),
             target.offset, target.length);
  const Mapping mapping(target.handle->fd.get(), target.offset, target.length,
                        PROT_READ | PROT_WRITE, MAP_SHARED);
  if (!mapped(world, mapping, "shared mmap")) return true;
  expect_bytes(target.handle->model->content, target.offset, mapping.bytes(),
               shown(target.handle->opened_as) + " (mapping before write)");
  fill_pattern(world.chance.next(), mapping.bytes());
  target.handle->model->content.write(target.offset, mapping.bytes());
  if (world.chance.one_in(3) && mapping.sync(MS_SYNC) != 0) {
    disagree("msync: {}", std::strerror(errno));
  }
  return true;
}

bool read_through_mapping(World& world) {
  const Target target = pick_existing_range(world);
  if (target.handle == nullptr) return false;
  const bool shared = world.chance.one_in(2);
  world.note("mmap {} read {} offset {} length {}", shared ? "shared" : "private",
             shown(target.handle->opened_as), target.offset, target.length);
  const Mapping mapping(target.handle->fd.get(), target.offset, target.length, PROT_READ,
                        shared ? MAP_SHARED : MAP_PRIVATE);
  if (!mapped(world, mapping, shared ? "shared mmap" : "private mmap")) return true;
  expect_bytes(target.handle->model->content, target.offset, mapping.bytes(),
               shown(target.handle->opened_as) + " (mapping)");
  return true;
}

// What is written to a private mapping must never reach the file.
bool scribble_private_mapping(World& world) {
  const Target target = pick_existing_range(world);
  if (target.handle == nullptr) return false;
  world.note("mmap private write {} offset {} length {}", shown(target.handle->opened_as),
             target.offset, target.length);
  const Mapping mapping(target.handle->fd.get(), target.offset, target.length,
                        PROT_READ | PROT_WRITE, MAP_PRIVATE);
  if (!mapped(world, mapping, "private mmap")) return true;
  fill_pattern(world.chance.next(), mapping.bytes());
  return true;
}

struct FallocateCase {
  const char* name;
  int mode;
};

bool fallocate_range(World& world, const FallocateCase& what) {
  Handle* handle = pick_handle(world);
  if (handle == nullptr || world.unsupported.contains(what.name)) return false;
  FileContent& content = handle->model->content;
  const uint64_t offset =
      world.chance.below(std::min(content.size_bytes() + kPage, world.limits.max_file_bytes));
  const uint64_t length = world.chance.between(1, 24 * kPage);
  world.note("{} {} offset {} length {}", what.name, shown(handle->opened_as), offset, length);
  if (fallocate(handle->fd.get(), what.mode, static_cast<off_t>(offset),
                static_cast<off_t>(length)) != 0) {
    if (world.note_unsupported(what.name)) return true;
    disagree("{}: {}", what.name, std::strerror(errno));
  }
  if ((what.mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0) {
    content.zero(offset, length);
  }
  if ((what.mode & FALLOC_FL_KEEP_SIZE) == 0 && offset + length > content.size_bytes()) {
    content.resize(offset + length);
  }
  return true;
}

bool punch_hole(World& world) {
  return fallocate_range(world, {"punch hole", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE});
}

// Half of the time without a new size, however far it reaches.
int maybe_keep_size(World& world) { return world.chance.one_in(2) ? FALLOC_FL_KEEP_SIZE : 0; }

bool zero_range(World& world) {
  return fallocate_range(world, {"zero range", FALLOC_FL_ZERO_RANGE | maybe_keep_size(world)});
}

bool allocate_range(World& world) {
  return fallocate_range(world, {"fallocate", maybe_keep_size(world)});
}

bool all_zero(const FileContent& content, uint64_t begin, uint64_t end) {
  std::vector<std::byte> bytes(end - begin);
  content.read(begin, bytes);
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

// What the file system calls a hole must read as zeros; where its data begins is its choice.
bool seek_data(World& world) {
  const Target target = pick_existing_range(world);
  if (target.handle == nullptr) return false;
  const FileContent& content = target.handle->model->content;
  world.note("lseek data {} from {}", shown(target.handle->opened_as), target.offset);
  const off_t found = lseek(target.handle->fd.get(), static_cast<off_t>(target.offset), SEEK_DATA);
  if (found < 0 && errno != ENXIO) disagree("lseek data: {}", std::strerror(errno));
  const uint64_t data = found < 0 ? content.size_bytes() : static_cast<uint64_t>(found);
  if (data < target.offset || data > content.size_bytes()) {
    disagree("lseek data from {} gives {}, size {}", target.offset, data, content.size_bytes());
  }
  if (!all_zero(content, target.offset, std::min(data, target.offset + World::kMaxPieceBytes))) {
    disagree("{}: lseek data from {} skips data before {}", shown(target.handle->opened_as),
             target.offset, data);
  }
  return true;
}

// A hole that is found must be one, up to the data that is found behind it. The end is a hole.
bool seek_hole(World& world) {
  const Target target = pick_existing_range(world);
  if (target.handle == nullptr) return false;
  const int fd = target.handle->fd.get();
  const FileContent& content = target.handle->model->content;
  world.note("lseek hole {} from {}", shown(target.handle->opened_as), target.offset);
  const off_t found = lseek(fd, static_cast<off_t>(target.offset), SEEK_HOLE);
  if (found < 0) disagree("lseek hole: {}", std::strerror(errno));
  const auto hole = static_cast<uint64_t>(found);
  if (hole < target.offset || hole > content.size_bytes()) {
    disagree("lseek hole from {} gives {}, size {}", target.offset, hole, content.size_bytes());
  }
  const off_t next = lseek(fd, found, SEEK_DATA);
  const uint64_t end = next < 0 ? content.size_bytes() : static_cast<uint64_t>(next);
  if (end < hole || !all_zero(content, hole, std::min(end, hole + World::kMaxPieceBytes))) {
    disagree("{}: lseek says hole from {} to {}, where data is", shown(target.handle->opened_as),
             hole, end);
  }
  return true;
}

struct Pipe {
  OwnedFd from;
  OwnedFd to;
};

Pipe make_pipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) disagree("pipe: {}", std::strerror(errno));
  return {OwnedFd(ends[0]), OwnedFd(ends[1])};
}

constexpr uint64_t kPipeBytes = 16 * kPage;  // it takes that much without a reader

bool splice_out(World& world) {
  const Target target = pick_existing_range(world);
  if (target.handle == nullptr || target.handle->direct) return false;
  const Pipe pipe = make_pipe();
  auto offset = static_cast<off_t>(target.offset);
  const uint64_t length = std::min(target.length, kPipeBytes - kPage);
  world.note("splice from {} offset {} length {}", shown(target.handle->opened_as), target.offset,
             length);
  const ssize_t moved = splice(target.handle->fd.get(), &offset, pipe.to.get(), nullptr, length, 0);
  if (moved <= 0) disagree("splice from a file: {}: {}", moved, std::strerror(errno));
  const auto out = world.readback.first(static_cast<size_t>(moved));
  if (read(pipe.from.get(), out.data(), out.size()) != moved) disagree("the pipe holds less");
  expect_bytes(target.handle->model->content, target.offset, out,
               shown(target.handle->opened_as) + " (spliced)");
  return true;
}

bool splice_in(World& world) {
  const Target target = pick_existing_range(world);
  if (target.handle == nullptr || target.handle->direct || target.handle->append) return false;
  const Pipe pipe = make_pipe();
  const auto data = world.data.first(std::min(target.length, kPipeBytes - kPage));
  fill_pattern(world.chance.next(), data);
  auto offset = static_cast<off_t>(target.offset);
  world.note("splice to {} offset {} length {}", shown(target.handle->opened_as), target.offset,
             data.size());
  const auto length = static_cast<ssize_t>(data.size());
  if (write(pipe.to.get(), data.data(), data.size()) != length) disagree("the pipe takes less");
  const ssize_t moved =
      splice(pipe.from.get(), nullptr, target.handle->fd.get(), &offset, data.size(), 0);
  if (moved != length) disagree("splice to a file: {} of {}", moved, length);
  target.handle->model->content.write(target.offset, data);
  return true;
}

bool copy_between_files(World& world) {
  const Target source = pick_existing_range(world);
  Handle* to = pick_handle(world);
  if (source.handle == nullptr || source.handle->direct || world.unsupported.contains("copy")) {
    return false;
  }
  if (to->append || to->direct || to->model == source.handle->model) return false;
  off_t from_offset = static_cast<off_t>(source.offset);
  const uint64_t place = world.chance.below(world.limits.max_file_bytes);
  off_t to_offset = static_cast<off_t>(place);
  world.note("copy_file_range {} offset {} length {} to {} offset {}",
             shown(source.handle->opened_as), source.offset, source.length, shown(to->opened_as),
             place);
  const ssize_t copied = copy_file_range(source.handle->fd.get(), &from_offset, to->fd.get(),
                                         &to_offset, source.length, 0);
  if (copied < 0) {
    if (world.note_unsupported("copy")) return true;
    disagree("copy_file_range: {}", std::strerror(errno));
  }
  const auto bytes = world.data.first(static_cast<size_t>(copied));
  source.handle->model->content.read(source.offset, bytes);
  to->model->content.write(place, bytes);
  return true;
}

constexpr Operation kOperations[] = {
    {"mmap shared write", 50, write_through_mapping},
    {"mmap read", 40, read_through_mapping},
    {"mmap private write", 8, scribble_private_mapping},
    {"punch hole", 15, punch_hole},
    {"zero range", 8, zero_range},
    {"fallocate", 6, allocate_range},
    {"lseek data", 15, seek_data},
    {"lseek hole", 15, seek_hole},
    {"splice out", 8, splice_out},
    {"splice in", 8, splice_in},
    {"copy", 8, copy_between_files},
};

}  // namespace

std::span<const Operation> range_operations() { return kOperations; }

}  // namespace rram::exerciser
