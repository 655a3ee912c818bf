#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <iterator>

#include "tests/mount/operations.h"
#include "tests/mount/stranger.h"
#include "tests/mount/verify.h"

namespace rram::exerciser {

namespace {

constexpr size_t kMaxHandles = 12;
constexpr uint64_t kPage = FileContent::kPageBytes;
constexpr uint64_t kFarFactor = 16;  // sparse files grow to this many times --max-file-size

// A range for a direct handle is moved to page borders; others stay as they are.
struct Range {
  uint64_t offset;
  uint64_t length;
};

Range fit_to_handle(const Handle& handle, Range range) {
  if (!handle.direct) return range;
  return {range.offset / kPage * kPage,
          std::max(kPage, std::min<uint64_t>(range.length / kPage * kPage, World::kMaxPieceBytes))};
}

// Memory to write from: page aligned for direct handles, else at any address.
std::span<std::byte> fresh_data(World& world, const Handle& handle, uint64_t length) {
  const size_t shift = handle.direct ? 0 : world.chance.below(64);
  const auto piece = world.data.first(shift + length).subspan(shift);
  fill_pattern(world.chance.next(), piece);
  return piece;
}

void check_written(const Handle& handle, ssize_t written, uint64_t length) {
  if (written == static_cast<ssize_t>(length)) return;
  if (written < 0) disagree("write to {}: {}", shown(handle.opened_as), std::strerror(errno));
  disagree("write to {}: {} of {} bytes", shown(handle.opened_as), written, length);
}

bool write_range(World& world, Handle& handle, Range range) {
  range = fit_to_handle(handle, range);
  const uint64_t place = handle.append ? handle.model->content.size_bytes() : range.offset;
  const auto data = fresh_data(world, handle, range.length);
  world.note("pwrite {} offset {} length {}{}{}", shown(handle.opened_as), place, range.length,
             handle.append ? " append" : "", handle.direct ? " direct" : "");
  check_written(handle, world.storage.write_at(handle.fd.get(), data, place), range.length);
  handle.model->content.write(place, data);
  return true;
}

bool write_somewhere(World& world) {
  Handle* handle = pick_handle(world);
  if (handle == nullptr) return false;
  const uint64_t length = std::min(pick_length(world), world.limits.max_file_bytes);
  const uint64_t room = world.limits.max_file_bytes - length;
  const uint64_t reach = std::min(room, handle->model->content.size_bytes() + kPage);
  return write_range(world, *handle, {world.chance.below(reach + 1), length});
}

bool write_far_out(World& world) {
  Handle* handle = pick_handle(world);
  if (handle == nullptr || handle->append) return false;
  const uint64_t offset = world.chance.below(world.limits.max_file_bytes * kFarFactor);
  return write_range(world, *handle, {offset, world.chance.between(1, 3 * kPage)});
}

bool write_at_end(World& world) {
  Handle* handle = pick_handle(world);
  if (handle == nullptr) return false;
  const uint64_t size_bytes = handle->model->content.size_bytes();
  if (size_bytes > world.limits.max_file_bytes) return false;
  return write_range(world, *handle, {size_bytes, pick_length(world)});
}

// Several pieces by one writev at the file position.
bool write_vector(World& world) {
  Handle* handle = pick_handle(world);
  if (handle == nullptr || handle->direct || handle->append) return false;
  const uint64_t length = std::max<uint64_t>(3, pick_length(world) / 4);
  const uint64_t offset = world.chance.below(world.limits.max_file_bytes);
  const auto data = fresh_data(world, *handle, length);
  const size_t cut1 = world.chance.below(length / 2);
  const size_t cut2 = world.chance.between(cut1, length);
  std::array<iovec, 3> pieces = {iovec{data.data(), cut1}, iovec{data.data() + cut1, cut2 - cut1},
                                 iovec{data.data() + cut2, length - cut2}};
  world.note("writev {} offset {} lengths {} {} {}", shown(handle->opened_as), offset, cut1,
             cut2 - cut1, length - cut2);
  if (lseek(handle->fd.get(), static_cast<off_t>(offset), SEEK_SET) < 0) {
    disagree("lseek: {}", std::strerror(errno));
  }
  check_written(*handle, writev(handle->fd.get(), pieces.data(), pieces.size()), length);
  handle->model->content.write(offset, data);
  return true;
}

bool read_somewhere(World& world) {
  Handle* handle = pick_handle(world);
  if (handle == nullptr) return false;
  const uint64_t size_bytes = handle->model->content.size_bytes();
  const Range range =
      fit_to_handle(*handle, {world.chance.below(size_bytes + kPage), pick_length(world)});
  const auto out = world.readback.first(range.length);
  world.note("pread {} offset {} length {}{}", shown(handle->opened_as), range.offset, range.length,
             handle->direct ? " direct" : "");
  const ssize_t got =
      pread(handle->fd.get(), out.data(), out.size(), static_cast<off_t>(range.offset));
  if (got < 0) disagree("read {}: {}", shown(handle->opened_as), std::strerror(errno));
  const uint64_t left = range.offset < size_bytes ? size_bytes - range.offset : 0;
  if (static_cast<uint64_t>(got) != std::min(left, range.length)) {
    disagree("read {} at {}: {} bytes, expected {}", shown(handle->opened_as), range.offset, got,
             std::min(left, range.length));
  }
  expect_bytes(handle->model->content, range.offset, out.first(static_cast<size_t>(got)),
               shown(handle->opened_as));
  return true;
}

bool truncate_open_file(World& world) {
  Handle* handle = pick_handle(world);
  if (handle == nullptr) return false;
  const uint64_t old_bytes = handle->model->content.size_bytes();
  uint64_t size_bytes = world.chance.below(world.limits.max_file_bytes);
  if (world.chance.one_in(3)) size_bytes = world.chance.below(old_bytes + 1);
  if (world.chance.one_in(4)) size_bytes = size_bytes / kPage * kPage;
  if (world.chance.one_in(20)) size_bytes *= kFarFactor;
  world.note("ftruncate {} from {} to {}", shown(handle->opened_as), old_bytes, size_bytes);
  if (ftruncate(handle->fd.get(), static_cast<off_t>(size_bytes)) != 0) {
    disagree("ftruncate: {}", std::strerror(errno));
  }
  handle->model->content.resize(size_bytes);
  return true;
}

bool truncate_by_path(World& world) {
  const auto paths = world.tree.paths_of(NodeKind::kFile);
  if (paths.empty()) return false;
  const std::string& path = paths[world.chance.below(paths.size())];
  const uint64_t size_bytes = world.chance.below(world.limits.max_file_bytes);
  world.note("truncate {} to {}", shown(path), size_bytes);
  if (truncate((world.root + "/" + path).c_str(), static_cast<off_t>(size_bytes)) != 0) {
    disagree("truncate: {}", std::strerror(errno));
  }
  world.tree.find(path)->file->content.resize(size_bytes);
  return true;
}

bool sync_file(World& world) {
  Handle* handle = pick_handle(world);
  if (handle == nullptr) return false;
  const bool data_only = world.chance.one_in(2);
  world.note("{} {}", data_only ? "fdatasync" : "fsync", shown(handle->opened_as));
  const int result = data_only ? fdatasync(handle->fd.get()) : fsync(handle->fd.get());
  if (result != 0) disagree("fsync: {}", std::strerror(errno));
  return true;
}

bool close_file(World& world) {
  if (world.handles.empty()) return false;
  const size_t index = world.chance.below(world.handles.size());
  world.note("close {}", shown(world.handles[index].opened_as));
  world.handles.erase(world.handles.begin() + static_cast<ptrdiff_t>(index));
  return true;
}

bool verify_open_file(World& world) {
  Handle* handle = pick_handle(world);
  if (handle == nullptr) return false;
  const OwnedFd fd = reopen_for_reading(handle->fd.get());
  const bool drop = world.chance.one_in(2);
  world.note("verify {}{}", shown(handle->opened_as), drop ? " from storage" : "");
  if (drop) drop_cached_pages(fd.get());
  verify_file(world, fd.get(), *handle->model, shown(handle->opened_as));
  return true;
}

bool check_attributes(World& world) {
  Handle* handle = pick_handle(world);
  if (handle == nullptr) return false;
  world.note("fstat {}", shown(handle->opened_as));
  verify_attributes(handle->fd.get(), *handle->model, shown(handle->opened_as));
  return true;
}

// One write at the end through a handle that does not append, and past the cache.
bool append_once(World& world) {
  Handle* handle = pick_handle(world);
  if (handle == nullptr || handle->direct) return false;
  const uint64_t size_bytes = handle->model->content.size_bytes();
  if (size_bytes > world.limits.max_file_bytes) return false;
  const auto data = fresh_data(world, *handle, world.chance.between(1, 3 * kPage));
  const iovec piece{data.data(), data.size()};
  const int flags = RWF_APPEND | (world.chance.one_in(4) ? RWF_DSYNC : 0);
  world.note("pwritev2 append {} length {}", shown(handle->opened_as), data.size());
  check_written(*handle, pwritev2(handle->fd.get(), &piece, 1, 0, flags), data.size());
  handle->model->content.write(size_bytes, data);
  return true;
}

// Whoever writes without privileges takes the set-id bits away.
bool write_as_stranger(World& world) {
  Handle* handle = pick_handle(world);
  if (handle == nullptr || handle->direct || handle->append || !is_root()) return false;
  FileModel& file = *handle->model;
  const uint64_t offset = world.chance.below(world.limits.max_file_bytes);
  const auto data = world.data.first(world.chance.between(1, 2 * kPage));
  fill_pattern(world.chance.next(), data);
  world.note("write as a stranger {} offset {} length {}", shown(handle->opened_as), offset,
             data.size());
  ssize_t written = 0;
  {
    const AsStranger stranger;
    written = pwrite(handle->fd.get(), data.data(), data.size(), static_cast<off_t>(offset));
  }
  if (written != static_cast<ssize_t>(data.size())) disagree("write as a stranger: {}", written);
  file.content.write(offset, data);
  file.mode = without_set_ids(file.mode);
  verify_attributes(handle->fd.get(), file, shown(handle->opened_as));
  return true;
}

constexpr Operation kOperations[] = {
    {"write", 200, write_somewhere},    {"write far out", 15, write_far_out},
    {"append", 60, write_at_end},       {"writev", 20, write_vector},
    {"read", 200, read_somewhere},      {"ftruncate", 30, truncate_open_file},
    {"truncate", 10, truncate_by_path}, {"fsync", 8, sync_file},
    {"open", 60, open_known_file},      {"close", 40, close_file},
    {"verify", 8, verify_open_file},    {"fstat", 40, check_attributes},
    {"append once", 15, append_once},   {"write as stranger", 6, write_as_stranger},
};

}  // namespace

Handle* pick_handle(World& world) {
  if (world.handles.empty()) return nullptr;
  return &world.handles[world.chance.below(world.handles.size())];
}

uint64_t pick_length(World& world) {
  switch (world.chance.below(12)) {
    case 0:
    case 1:
    case 2:
      return world.chance.between(1, 64);
    case 3:
      return world.chance.between(1, 16) * kPage;
    case 4:
    case 5:
      return world.chance.between(1, 32 * kPage);
    case 6:
      return world.chance.between(1, World::kMaxPieceBytes);
    default:
      return world.chance.between(1, 3 * kPage);
  }
}

bool open_known_file(World& world) {
  const auto paths = world.tree.paths_of(NodeKind::kFile);
  if (paths.empty()) return false;
  const std::string& path = paths[world.chance.below(paths.size())];
  Handle handle;
  handle.append = world.chance.one_in(5);
  handle.direct = !handle.append && world.chance.one_in(6);
  handle.model = world.tree.find(path)->file;
  handle.opened_as = path;
  int flags = O_RDWR | O_CLOEXEC | (handle.append ? O_APPEND : 0) | (handle.direct ? O_DIRECT : 0);
  if (world.chance.one_in(10)) flags |= world.chance.one_in(2) ? O_SYNC : O_DSYNC;
  if (world.chance.one_in(30)) flags |= O_TRUNC;
  world.note("open {} {:#o}", shown(path), flags);
  int fd = openat(world.root_fd.get(), path.c_str(), flags);
  if (fd < 0 && errno == EINVAL && handle.direct) {
    world.unsupported.insert("O_DIRECT");
    handle.direct = false;
    fd = openat(world.root_fd.get(), path.c_str(), flags & ~O_DIRECT);
  }
  if (fd < 0) disagree("open {}: {}", shown(path), std::strerror(errno));
  if ((flags & O_TRUNC) != 0) handle.model->content.resize(0);
  handle.fd = OwnedFd(fd);
  keep_handle(world, std::move(handle));
  return true;
}

void keep_handle(World& world, Handle handle) {
  if (world.handles.size() >= kMaxHandles) close_file(world);
  world.handles.push_back(std::move(handle));
}

std::span<const Operation> file_operations() { return kOperations; }

}  // namespace rram::exerciser
