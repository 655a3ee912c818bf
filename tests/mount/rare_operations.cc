#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "tests/mount/operations.h"
#include "tests/mount/verify.h"

namespace rram::exerciser {

namespace {

constexpr size_t kMaxSpecials = 8;
constexpr int kMaxLinksFollowed = 40;  // by the kernel, before it says ELOOP

bool make_special(World& world) {
  if (world.tree.paths_of(NodeKind::kSpecial).size() >= kMaxSpecials) return false;
  constexpr std::array<mode_t, 4> kTypes = {S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK};
  // Only root may make devices.
  const mode_t type = kTypes.at(world.chance.below(geteuid() == 0 ? 4 : 2));
  const bool is_device = type == S_IFCHR || type == S_IFBLK;
  const dev_t device = is_device ? makedev(static_cast<unsigned>(world.chance.below(4096)),
                                           static_cast<unsigned>(world.chance.below(1U << 20U)))
                                 : 0;
  const std::string path = pick_path(world);
  const bool exists = world.tree.find(path) != nullptr;
  world.note("mknod {} type {:o} device {:x}", shown(path), type, device);
  expect_error("mknod", path, mknodat(world.root_fd.get(), path.c_str(), type | 0600U, device),
               exists ? EEXIST : 0);
  if (!exists) world.tree.add(path, {NodeKind::kSpecial, nullptr, {}, {type, device}});
  return true;
}

bool use_fifo(World& world) {
  const std::string path = pick_of_kind(world, NodeKind::kSpecial);
  if (path.empty() || world.tree.find(path)->special.type != S_IFIFO) return false;
  world.note("through the pipe {}", shown(path));
  const OwnedFd fd(openat(world.root_fd.get(), path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (fd.get() < 0) disagree("open of the pipe {}: {}", shown(path), std::strerror(errno));
  const uint64_t sent = world.chance.next();
  uint64_t got = 0;
  if (write(fd.get(), &sent, sizeof sent) != sizeof sent ||
      read(fd.get(), &got, sizeof got) != sizeof got || got != sent) {
    disagree("{} does not give back what was written", shown(path));
  }
  return true;
}

struct Destination {
  const Node* node = nullptr;  // null where the links lead to nothing
  int error = 0;               // what stat(2) must say; -1 where it depends on more than one name
};

// Where a symbolic link leads, by the oracle.
Destination follow(const World& world, const Node* node) {
  for (int links = 0; node->kind == NodeKind::kSymlink; ++links) {
    if (links == kMaxLinksFollowed) return {nullptr, ELOOP};
    const std::string below = world.root + "/";
    if (!node->target.starts_with(below)) {
      return {nullptr, node->target.size() > NAME_MAX ? ENAMETOOLONG : ENOENT};
    }
    const std::string path = node->target.substr(below.size());
    node = world.tree.find(path);
    if (node == nullptr) return {nullptr, path.find('/') == std::string::npos ? ENOENT : -1};
  }
  return {node, 0};
}

bool follow_symlink(World& world) {
  const std::string path = pick_of_kind(world, NodeKind::kSymlink);
  if (path.empty()) return false;
  const Destination there = follow(world, world.tree.find(path));
  if (there.error == -1) return false;
  struct stat attributes{};
  world.note("stat through {}", shown(path));
  expect_error("stat through", path, fstatat(world.root_fd.get(), path.c_str(), &attributes, 0),
               there.error);
  if (there.error != 0) return true;
  if ((attributes.st_mode & S_IFMT) != type_of(*there.node)) {
    disagree("{} leads to type {:o}, expected {:o}", shown(path), attributes.st_mode & S_IFMT,
             type_of(*there.node));
  }
  if (there.node->kind == NodeKind::kFile &&
      static_cast<uint64_t>(attributes.st_size) != there.node->file->content.size_bytes()) {
    disagree("{} leads to size {}, expected {}", shown(path), attributes.st_size,
             there.node->file->content.size_bytes());
  }
  return true;
}

bool make_unnamed(World& world) {
  if (world.unsupported.contains("O_TMPFILE")) return false;
  const std::string directory = pick_of_kind(world, NodeKind::kDirectory);
  const std::string full = directory.empty() ? world.root : world.root + "/" + directory;
  world.note("open unnamed in {}", shown(directory));
  Handle handle;
  handle.fd = OwnedFd(open(full.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0644));
  if (handle.fd.get() < 0) {
    if (world.note_unsupported("O_TMPFILE")) return true;
    disagree("open unnamed in {}: {}", shown(directory), std::strerror(errno));
  }
  handle.opened_as = "(unnamed)";
  handle.model = new_file_model();
  handle.model->links = 0;
  handle.model->linkable = true;
  keep_handle(world, std::move(handle));
  return true;
}

// A name for what is open: a file that never had one may get one, one that lost its last may not.
bool link_open_file(World& world) {
  Handle* handle = pick_handle(world);
  if (handle == nullptr || !has_room_for_file(world)) return false;
  FileModel& file = *handle->model;
  const std::string path = pick_path(world);
  const bool exists = world.tree.find(path) != nullptr;
  const bool may = file.links > 0 || file.linkable;
  world.note("link open {} as {}", shown(handle->opened_as), shown(path));
  const std::string open_file = fmt::format("/proc/self/fd/{}", handle->fd.get());
  const int expected = may ? 0 : ENOENT;
  expect_error(
      "link of an open file", path,
      linkat(AT_FDCWD, open_file.c_str(), world.root_fd.get(), path.c_str(), AT_SYMLINK_FOLLOW),
      exists ? EEXIST : expected);
  if (exists || !may) return true;
  ++file.links;
  file.linkable = false;
  world.tree.add(path, {NodeKind::kFile, handle->model, {}});
  return true;
}

struct ClosesDirectory {
  void operator()(DIR* stream) const { closedir(stream); }
};

struct Place {
  std::string name;
  long before = 0;
};

std::vector<Place> places_from_here(DIR* stream) {
  std::vector<Place> places;
  for (;;) {
    const long before = telldir(stream);
    const dirent* entry = readdir(stream);
    if (entry == nullptr) return places;
    places.push_back({entry->d_name, before});
  }
}

// A position in a directory leads back to the entry that came there, and to all behind it.
bool seek_directory(World& world) {
  const std::string path = pick_of_kind(world, NodeKind::kDirectory);
  const std::string full = path.empty() ? world.root : world.root + "/" + path;
  world.note("seekdir in {}", shown(path));
  const std::unique_ptr<DIR, ClosesDirectory> stream(opendir(full.c_str()));
  if (!stream) disagree("opendir {}: {}", shown(path), std::strerror(errno));
  const std::vector<Place> places = places_from_here(stream.get());
  if (places.size() != world.tree.list(path).size() + 2) {  // with "." and ".."
    disagree("{}: {} entries, expected {}", shown(path), places.size(),
             world.tree.list(path).size() + 2);
  }
  const size_t from = world.chance.below(places.size());
  seekdir(stream.get(), places[from].before);
  const std::vector<Place> again = places_from_here(stream.get());
  const auto same = [](const Place& a, const Place& b) { return a.name == b.name; };
  if (!std::ranges::equal(std::span(places).subspan(from), again, same)) {
    disagree("{}: after seekdir to entry {} of {}, {} entries came", shown(path), from,
             places.size(), again.size());
  }
  return true;
}

// Others write meanwhile: only what always holds.
bool ask_space(World& world) {
  struct statvfs figures{};
  world.note("statvfs");
  expect_error("statvfs", "", fstatvfs(world.root_fd.get(), &figures), 0);
  if (figures.f_bfree > figures.f_blocks || figures.f_bavail > figures.f_bfree ||
      figures.f_ffree > figures.f_files || figures.f_namemax < NAME_MAX) {
    disagree("statvfs: {} of {} blocks free, {} available, {} of {} files free, names of {}",
             figures.f_bfree, figures.f_blocks, figures.f_bavail, figures.f_ffree, figures.f_files,
             figures.f_namemax);
  }
  return true;
}

constexpr Operation kOperations[] = {
    {"mknod", 8, make_special},
    {"pipe", 4, use_fifo},
    {"follow symlink", 15, follow_symlink},
    {"open unnamed", 8, make_unnamed},
    {"link open file", 10, link_open_file},
    {"seekdir", 4, seek_directory},
    {"statvfs", 4, ask_space},
};

}  // namespace

std::span<const Operation> rare_operations() { return kOperations; }

}  // namespace rram::exerciser
