#include <fcntl.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <set>
#include <string_view>

#include "tests/mount/operations.h"
#include "tests/mount/stranger.h"
#include "tests/mount/verify.h"

namespace rram::exerciser {

namespace {

constexpr uint32_t kSetIdBits = S_ISUID | S_ISGID;
constexpr const char* kAccessListName = "system.posix_acl_access";

bool change_mode(World& world) {
  const std::string path = pick_of_kind(world, NodeKind::kFile);
  if (path.empty()) return false;
  // The owner keeps access, so that the exerciser runs for any user.
  uint32_t mode = 0600U | static_cast<uint32_t>(world.chance.below(0200));
  // Set-group-id without execution is a sign for mandatory locks elsewhere: not used.
  if (is_root() && world.chance.one_in(4)) mode |= kSetIdBits | S_IXGRP;
  world.note("chmod {} {:o}", shown(path), mode);
  expect_error("chmod", path, world.storage.change_mode(world.root_fd.get(), path.c_str(), mode),
               0);
  world.tree.find(path)->file->mode = mode;
  return true;
}

bool change_owner(World& world) {
  const std::string path = pick_of_kind(world, NodeKind::kFile);
  if (path.empty() || !is_root()) return false;
  const uint32_t uid = world.chance.one_in(2) ? kStranger : 0;
  const uint32_t gid = world.chance.one_in(2) ? kStranger : 0;
  world.note("chown {} {}:{}", shown(path), uid, gid);
  expect_error("chown", path, fchownat(world.root_fd.get(), path.c_str(), uid, gid, 0), 0);
  FileModel& file = *world.tree.find(path)->file;
  file.uid = uid;
  file.gid = gid;
  file.mode = without_set_ids(file.mode);
  return true;
}

bool change_times(World& world) {
  const std::string path = pick_existing(world);
  if (path.empty()) return false;
  const std::array<timespec, 2> times = {
      timespec{static_cast<time_t>(world.chance.below(1U << 31U)),
               static_cast<long>(world.chance.below(1000000000))},
      timespec{static_cast<time_t>(world.chance.below(1U << 31U)),
               static_cast<long>(world.chance.below(1000000000))}};
  world.note("utimensat {}", shown(path));
  const int root = world.root_fd.get();
  expect_error("utimensat", path, utimensat(root, path.c_str(), times.data(), AT_SYMLINK_NOFOLLOW),
               0);
  struct stat attributes{};
  expect_error("stat", path, fstatat(root, path.c_str(), &attributes, AT_SYMLINK_NOFOLLOW), 0);
  if (attributes.st_mtim.tv_sec != times[1].tv_sec ||
      attributes.st_mtim.tv_nsec != times[1].tv_nsec) {
    disagree("{}: mtime {}.{:09}, expected {}.{:09}", shown(path), attributes.st_mtim.tv_sec,
             attributes.st_mtim.tv_nsec, times[1].tv_sec, times[1].tv_nsec);
  }
  return true;
}

bool set_xattr(World& world, const std::string& path, const std::string& name) {
  auto& xattrs = world.tree.find(path)->file->xattrs;
  const std::string value(world.chance.below(400), static_cast<char>('A' + world.chance.below(26)));
  world.note("setxattr {} {} length {}", shown(path), name, value.size());
  if (setxattr((world.root + "/" + path).c_str(), name.c_str(), value.data(), value.size(), 0) !=
      0) {
    if (world.note_unsupported("xattr")) return true;
    disagree("setxattr {}: {}", shown(path), std::strerror(errno));
  }
  xattrs[name] = value;
  return true;
}

void expect_xattr(World& world, const std::string& path, const std::string& name) {
  const auto& xattrs = world.tree.find(path)->file->xattrs;
  std::array<char, 1024> value{};
  const ssize_t length =
      getxattr((world.root + "/" + path).c_str(), name.c_str(), value.data(), value.size());
  const auto expected = xattrs.find(name);
  if (expected == xattrs.end()) {
    expect_error("getxattr", path, length < 0 ? -1 : 0, ENODATA);
  } else if (length < 0 ||
             std::string_view(value.data(), static_cast<size_t>(length)) != expected->second) {
    disagree("getxattr {} {}: length {}, expected {} bytes of '{}'", shown(path), name, length,
             expected->second.size(), expected->second.substr(0, 1));
  }
}

void expect_xattr_names(World& world, const std::string& path) {
  std::array<char, 4096> names{};
  const ssize_t length = listxattr((world.root + "/" + path).c_str(), names.data(), names.size());
  if (length < 0) disagree("listxattr {}: {}", shown(path), std::strerror(errno));
  std::set<std::string> got;
  for (const char* name = names.data(); name < names.data() + length;
       name += std::strlen(name) + 1) {
    if (std::string_view(name).starts_with("user.")) got.insert(name);
  }
  std::set<std::string> expected;
  for (const auto& [name, value] : world.tree.find(path)->file->xattrs) expected.insert(name);
  if (got != expected) {
    disagree("listxattr {}: {} names, expected {}", shown(path), got.size(), expected.size());
  }
}

bool use_xattrs(World& world) {
  const std::string path = pick_of_kind(world, NodeKind::kFile);
  if (path.empty() || world.unsupported.contains("xattr")) return false;
  const std::string name = fmt::format("user.x{}", world.chance.below(4));
  if (world.chance.one_in(2)) return set_xattr(world, path, name);
  world.note("xattrs {} {}", shown(path), name);
  expect_xattr(world, path, name);
  expect_xattr_names(world, path);
  if (world.chance.one_in(2)) return true;
  auto& xattrs = world.tree.find(path)->file->xattrs;
  const int expected = xattrs.contains(name) ? 0 : ENODATA;
  expect_error("removexattr", path, removexattr((world.root + "/" + path).c_str(), name.c_str()),
               expected);
  xattrs.erase(name);
  return true;
}

// --- Access lists ------------------------------------------------------------------------------

// As the kernel's interface has it; the rest of it stands in the mode.
std::string encoded(const FileModel& file) {
  constexpr auto kNoId = static_cast<uint32_t>(ACL_UNDEFINED_ID);
  const auto entry = [](unsigned tag, uint32_t permissions, uint32_t id) {
    return posix_acl_xattr_entry{static_cast<__le16>(tag), static_cast<__le16>(permissions & 7U),
                                 id};
  };
  const std::array entries = {
      entry(ACL_USER_OBJ, file.mode >> 6U, kNoId), entry(ACL_USER, file.acl->named_user, kStranger),
      entry(ACL_GROUP_OBJ, file.acl->owning_group, kNoId), entry(ACL_MASK, file.mode >> 3U, kNoId),
      entry(ACL_OTHER, file.mode, kNoId)};
  const uint32_t version = POSIX_ACL_XATTR_VERSION;
  std::string bytes(reinterpret_cast<const char*>(&version), sizeof version);
  bytes.append(reinterpret_cast<const char*>(entries.data()), sizeof entries);
  return bytes;
}

bool set_access_list(World& world) {
  const std::string path = pick_of_kind(world, NodeKind::kFile);
  if (path.empty() || world.unsupported.contains("access lists")) return false;
  FileModel& file = *world.tree.find(path)->file;
  FileModel wanted;
  wanted.acl = AccessList{static_cast<uint32_t>(world.chance.below(8)),
                          static_cast<uint32_t>(world.chance.below(8))};
  wanted.mode = (file.mode & ~077U) | static_cast<uint32_t>(world.chance.below(0100));
  if ((file.mode & S_ISGID) != 0) wanted.mode |= S_IXGRP;
  const std::string list = encoded(wanted);
  world.note("set access list of {}, mode {:o}", shown(path), wanted.mode);
  if (setxattr((world.root + "/" + path).c_str(), kAccessListName, list.data(), list.size(), 0) !=
      0) {
    if (world.note_unsupported("access lists")) return true;
    disagree("set access list of {}: {}", shown(path), std::strerror(errno));
  }
  file.acl = wanted.acl;
  file.mode = wanted.mode;
  return true;
}

bool check_access_list(World& world) {
  const std::string path = pick_of_kind(world, NodeKind::kFile);
  if (path.empty() || world.unsupported.contains("access lists")) return false;
  FileModel& file = *world.tree.find(path)->file;
  const std::string full = world.root + "/" + path;
  std::array<char, 256> list{};
  world.note("access list of {}", shown(path));
  const ssize_t length = getxattr(full.c_str(), kAccessListName, list.data(), list.size());
  if (length < 0 && world.note_unsupported("access lists")) return true;
  if (!file.acl) {
    expect_error("get access list", path, length < 0 ? -1 : 0, ENODATA);
    return true;
  }
  if (length < 0 || std::string_view(list.data(), static_cast<size_t>(length)) != encoded(file)) {
    disagree("access list of {} differs, mode {:o}", shown(path), file.mode);
  }
  if (world.chance.one_in(2)) {
    expect_error("remove access list", path, removexattr(full.c_str(), kAccessListName), 0);
    file.acl.reset();
  }
  return true;
}

// --- Who may what ------------------------------------------------------------------------------

// The bits (rwx) that a stranger has.
uint32_t bits_of_stranger(const FileModel& file) {
  const uint32_t of_group = (file.mode >> 3U) & 7U;
  if (file.uid == kStranger) return (file.mode >> 6U) & 7U;
  // A named user comes before the groups. The kernel does not look at a list whose mask is empty.
  if (file.acl && of_group != 0) return file.acl->named_user & of_group;
  return file.gid == kStranger ? of_group : file.mode & 7U;
}

bool open_as_stranger(World& world) {
  const std::string path = pick_of_kind(world, NodeKind::kFile);
  if (path.empty() || !is_root()) return false;
  struct Way {
    int flags;
    uint32_t needs;
  };
  constexpr std::array kWays = {Way{O_RDONLY, 4}, Way{O_WRONLY, 2}, Way{O_RDWR, 6}};
  const Way way = kWays.at(world.chance.below(kWays.size()));
  const FileModel& file = *world.tree.find(path)->file;
  const bool may = (bits_of_stranger(file) & way.needs) == way.needs;
  world.note("open as a stranger {} {:#o}", shown(path), way.flags);
  int result = 0;
  int error = 0;
  {
    const AsStranger stranger;
    const OwnedFd fd(openat(world.root_fd.get(), path.c_str(), way.flags | O_CLOEXEC));
    result = fd.get() < 0 ? -1 : 0;
    error = errno;
  }
  errno = error;
  expect_error("open as a stranger", path, result, may ? 0 : EACCES);
  return true;
}

// In a sticky directory one may remove one's own files only, in any other those of everybody.
bool unlink_as_stranger(World& world) {
  const std::string path = pick_of_kind(world, NodeKind::kFile);
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos || !is_root()) return false;
  const std::string directory = path.substr(0, slash);
  const bool sticky = world.chance.one_in(2);
  const bool own = world.tree.find(path)->file->uid == kStranger;
  // Few are really removed: the others have to stay for the rest of the exerciser.
  if ((!sticky || own) && !world.chance.one_in(4)) return false;
  world.note("unlink as a stranger {}{}", shown(path), sticky ? " (sticky)" : "");
  const int root = world.root_fd.get();
  expect_error("chmod", directory, fchmodat(root, directory.c_str(), sticky ? 01777 : 0777, 0), 0);
  int result = 0;
  int error = 0;
  {
    const AsStranger stranger;
    result = unlinkat(root, path.c_str(), 0);
    error = errno;
  }
  errno = error;
  const int expected = sticky && !own ? EPERM : 0;
  expect_error("unlink as a stranger", path, result, expected);
  expect_error("chmod", directory, fchmodat(root, directory.c_str(), 0755, 0), 0);
  if (expected == 0) forget_name(world, path);
  return true;
}

constexpr Operation kOperations[] = {
    {"chmod", 12, change_mode},
    {"chown", 8, change_owner},
    {"utimens", 8, change_times},
    {"xattr", 25, use_xattrs},
    {"set access list", 8, set_access_list},
    {"access list", 10, check_access_list},
    {"open as stranger", 20, open_as_stranger},
    {"unlink as stranger", 6, unlink_as_stranger},
};

}  // namespace

std::span<const Operation> attribute_operations() { return kOperations; }

}  // namespace rram::exerciser
