#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>

#include "tests/mount/operations.h"
#include "tests/mount/verify.h"

namespace rram::exerciser {

namespace {

constexpr size_t kMaxFiles = 40;
constexpr size_t kMaxDirectories = 12;
constexpr size_t kMaxSymlinks = 10;
constexpr ptrdiff_t kMaxDepth = 4;

std::string join(const std::string& directory, const std::string& name) {
  return directory.empty() ? name : directory + "/" + name;
}

// Few names, so that they collide often; some are as long or as odd as a name may be.
std::string pick_name(World& world) {
  const uint64_t number = world.chance.below(24);
  switch (world.chance.below(16)) {
    case 0:
      return fmt::format("{}{}", std::string(NAME_MAX - 2, 'n'), number % 10);
    case 1:
      return fmt::format(" odd\n\"name' \xc3\xa9 {}", number % 4);
    default:
      return fmt::format("n{}", number);
  }
}

bool create_file(World& world) {
  if (!has_room_for_file(world)) return false;
  const std::string path = pick_path(world);
  world.note("create {}", shown(path));
  const OwnedFd fd(
      openat(world.root_fd.get(), path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  const bool exists = world.tree.find(path) != nullptr;
  expect_error("create", path, fd.get() < 0 ? -1 : 0, exists ? EEXIST : 0);
  if (!exists) world.tree.add(path, {NodeKind::kFile, new_file_model(), {}});
  return true;
}

bool make_directory(World& world) {
  if (world.tree.paths_of(NodeKind::kDirectory).size() >= kMaxDirectories) return false;
  const std::string path = pick_path(world);
  const bool exists = world.tree.find(path) != nullptr;
  world.note("mkdir {}", shown(path));
  expect_error("mkdir", path, mkdirat(world.root_fd.get(), path.c_str(), 0755),
               exists ? EEXIST : 0);
  if (!exists) world.tree.add(path, {NodeKind::kDirectory, nullptr, {}});
  return true;
}

bool remove_directory(World& world) {
  const std::string path = pick_of_kind(world, NodeKind::kDirectory);
  if (path.empty()) return false;
  const int expected = world.tree.has_children(path) ? ENOTEMPTY : 0;
  world.note("rmdir {}", shown(path));
  expect_error("rmdir", path, unlinkat(world.root_fd.get(), path.c_str(), AT_REMOVEDIR), expected);
  if (expected == 0) world.tree.remove(path);
  return true;
}

// Open files stay usable: their handles go on after the last name is gone.
bool unlink_name(World& world) {
  const std::string path = pick_existing(world);
  if (path.empty()) return false;
  const bool directory = world.tree.find(path)->kind == NodeKind::kDirectory;
  world.note("unlink {}", shown(path));
  expect_error("unlink", path, unlinkat(world.root_fd.get(), path.c_str(), 0),
               directory ? EISDIR : 0);
  if (!directory) forget_name(world, path);
  return true;
}

bool make_hard_link(World& world) {
  const std::string from = pick_of_kind(world, NodeKind::kFile);
  if (from.empty() || !has_room_for_file(world)) return false;
  const std::string to = pick_path(world);
  const bool exists = world.tree.find(to) != nullptr;
  world.note("link {} to {}", shown(from), shown(to));
  const int root = world.root_fd.get();
  expect_error("link", to, linkat(root, from.c_str(), root, to.c_str(), 0), exists ? EEXIST : 0);
  if (exists) return true;
  const auto file = world.tree.find(from)->file;
  ++file->links;
  world.tree.add(to, {NodeKind::kFile, file, {}});
  return true;
}

bool make_symlink(World& world) {
  if (world.tree.paths_of(NodeKind::kSymlink).size() >= kMaxSymlinks) return false;
  const std::string path = pick_path(world);
  const bool exists = world.tree.find(path) != nullptr;
  const std::string aim = world.chance.one_in(2) ? pick_existing(world) : std::string();
  const std::string target = aim.empty() ? std::string(world.chance.between(1, 300),
                                                       static_cast<char>('a' + path.size() % 26))
                                         : world.root + "/" + aim;
  world.note("symlink {}", shown(path));
  expect_error("symlink", path, symlinkat(target.c_str(), world.root_fd.get(), path.c_str()),
               exists ? EEXIST : 0);
  if (!exists) world.tree.add(path, {NodeKind::kSymlink, nullptr, target});
  return true;
}

bool same_file(const Node& a, const Node& b) {
  return a.kind == NodeKind::kFile && b.kind == NodeKind::kFile && a.file == b.file;
}

// The errno that rename(2) must give, or -1 where more than one is right and only failure counts.
int expected_rename_error(const Tree& tree, const std::string& from, const std::string& to,
                          unsigned flags) {
  const Node* source = tree.find(from);
  const Node* target = tree.find(to);
  if (to.starts_with(from + "/") || from.starts_with(to + "/")) return -1;
  if ((flags & RENAME_NOREPLACE) != 0 && target != nullptr) return EEXIST;
  if ((flags & RENAME_EXCHANGE) != 0) return target == nullptr ? ENOENT : 0;
  if (target == nullptr || from == to || same_file(*source, *target)) return 0;
  const bool source_is_directory = source->kind == NodeKind::kDirectory;
  const bool target_is_directory = target->kind == NodeKind::kDirectory;
  if (source_is_directory && !target_is_directory) return ENOTDIR;
  if (!source_is_directory && target_is_directory) return EISDIR;
  return target_is_directory && tree.has_children(to) ? ENOTEMPTY : 0;
}

void apply_rename(World& world, const std::string& from, const std::string& to, unsigned flags) {
  const Node* target = world.tree.find(to);
  if (from == to || (target != nullptr && same_file(*world.tree.find(from), *target))) return;
  if ((flags & RENAME_EXCHANGE) != 0) {
    world.tree.exchange(from, to);
    return;
  }
  forget_name(world, to);
  world.tree.move(from, to);
}

ptrdiff_t depth_below(const Tree& tree, const std::string& path) {
  ptrdiff_t depth = 0;
  for (const auto& [name, node] : tree.all()) {
    if (name.starts_with(path + "/")) {
      depth = std::max(
          depth, std::count(name.begin() + static_cast<ptrdiff_t>(path.size()), name.end(), '/'));
    }
  }
  return depth;
}

bool rename_with(World& world, unsigned flags, const char* name) {
  const std::string from = pick_existing(world);
  if (from.empty() || world.unsupported.contains(name)) return false;
  const std::string to = world.chance.one_in(3) ? pick_existing(world) : pick_path(world);
  // Directories that are moved into each other would grow paths without end.
  if (std::ranges::count(to, '/') + depth_below(world.tree, from) > 2 * kMaxDepth) return false;
  const int expected = expected_rename_error(world.tree, from, to, flags);
  world.note("{} {} to {}", name, shown(from), shown(to));
  const int root = world.root_fd.get();
  const int result = world.storage.rename(root, from.c_str(), root, to.c_str(), flags);
  if (result != 0 && flags != 0 && (errno == EINVAL || errno == ENOSYS) && expected == 0) {
    world.unsupported.insert(name);
    return true;
  }
  if (expected == -1) {
    if (result == 0) disagree("{} {} to {}: success", name, shown(from), shown(to));
    return true;
  }
  expect_error(name, from + " to " + to, result, expected);
  if (expected == 0) apply_rename(world, from, to, flags);
  return true;
}

bool rename_plain(World& world) { return rename_with(world, 0, "rename"); }
bool rename_new(World& world) { return rename_with(world, RENAME_NOREPLACE, "rename noreplace"); }
bool rename_swap(World& world) { return rename_with(world, RENAME_EXCHANGE, "rename exchange"); }

bool look_up(World& world) {
  const std::string path = pick_path(world);
  struct stat attributes{};
  world.note("stat {}", shown(path));
  const int result = fstatat(world.root_fd.get(), path.c_str(), &attributes, AT_SYMLINK_NOFOLLOW);
  const Node* node = world.tree.find(path);
  expect_error("stat", path, result, node == nullptr ? ENOENT : 0);
  if (node == nullptr) return true;
  const mode_t type = attributes.st_mode & S_IFMT;
  if (type != type_of(*node)) {
    disagree("stat {}: type {:o}, expected {:o}", shown(path), type, type_of(*node));
  }
  if (node->kind == NodeKind::kSpecial && attributes.st_rdev != node->special.device) {
    disagree("stat {}: device {:x}, expected {:x}", shown(path), attributes.st_rdev,
             node->special.device);
  }
  if (type == S_IFREG &&
      static_cast<uint64_t>(attributes.st_size) != node->file->content.size_bytes()) {
    disagree("stat {}: size {}, expected {}", shown(path), attributes.st_size,
             node->file->content.size_bytes());
  }
  return true;
}

bool list_names(World& world) {
  world.note("list all");
  verify_names(world);
  return true;
}

constexpr Operation kOperations[] = {
    {"create", 50, create_file},
    {"mkdir", 12, make_directory},
    {"rmdir", 6, remove_directory},
    {"unlink", 22, unlink_name},
    {"link", 15, make_hard_link},
    {"symlink", 8, make_symlink},
    {"rename", 40, rename_plain},
    {"rename noreplace", 8, rename_new},
    {"rename exchange", 8, rename_swap},
    {"stat", 50, look_up},
    {"list", 4, list_names},
};

}  // namespace

std::string pick_path(World& world) {
  auto directories = world.tree.paths_of(NodeKind::kDirectory);
  std::erase_if(directories, [](const std::string& path) {
    return std::ranges::count(path, '/') + 1 >= kMaxDepth || path.size() > PATH_MAX / 4;
  });
  directories.emplace_back();
  return join(directories[world.chance.below(directories.size())], pick_name(world));
}

bool has_room_for_file(const World& world) {
  return world.tree.paths_of(NodeKind::kFile).size() < kMaxFiles;
}

std::shared_ptr<FileModel> new_file_model() {
  auto file = std::make_shared<FileModel>();
  file->uid = geteuid();
  file->gid = getegid();
  return file;
}

std::string pick_existing(World& world) {
  const auto& all = world.tree.all();
  if (all.empty()) return {};
  return std::next(all.begin(), static_cast<ptrdiff_t>(world.chance.below(all.size())))->first;
}

std::string pick_of_kind(World& world, NodeKind kind) {
  const auto paths = world.tree.paths_of(kind);
  return paths.empty() ? std::string() : paths[world.chance.below(paths.size())];
}

void expect_error(const char* call, const std::string& path, int result, int expected) {
  const int got = result == 0 ? 0 : errno;
  if (got == expected) return;
  disagree("{} {}: {}, expected {}", call, shown(path), got == 0 ? "success" : std::strerror(got),
           expected == 0 ? "success" : std::strerror(expected));
}

void forget_name(World& world, const std::string& path) {
  const Node* node = world.tree.find(path);
  if (node != nullptr && node->kind == NodeKind::kFile) --node->file->links;
  world.tree.remove(path);
}

std::span<const Operation> name_operations() { return kOperations; }

}  // namespace rram::exerciser
