// Calls about what is known of a file: modes, owners, times, extended attributes, access lists.
#include <fcntl.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>

#include "tests/mount/differential/call.h"
#include "tests/mount/differential/look.h"

namespace rram::differential {

namespace {

constexpr auto kKept = static_cast<uid_t>(-1);

uid_t some_id(Call& call) { return call.pick<uid_t>({0, 1001, 1002, 1003, kKept}); }

// Never both kept: FUSE does not let a file system see that such a call should clear set-id bits.
gid_t some_group(Call& call, uid_t uid) {
  const gid_t gid = some_id(call);
  return uid == kKept && gid == kKept ? 0 : gid;
}

void call_stat(Call& call) {
  const std::string path = call.path();
  call.say(" {}", path);
  struct stat status{};
  call.answer(stat(path.c_str(), &status));
}

void call_chmod(Call& call) {
  const std::string path = call.path();
  const mode_t mode = call.mode();
  call.say(" {} {:o}", path, mode);
  call.answer(chmod(path.c_str(), mode));
}

void call_fchmod(Call& call) {
  const int handle = call.handle();
  const mode_t mode = call.mode();
  call.say(" {:o}", mode);
  call.answer(fchmod(handle, mode));
}

void call_chown(Call& call) {
  const std::string path = call.path();
  const uid_t uid = some_id(call);
  const gid_t gid = some_group(call, uid);
  const int flags = call.some_of({AT_SYMLINK_NOFOLLOW}, 3);
  call.say(" {} {} {} {:#x}", path, uid, gid, flags);
  call.answer(fchownat(AT_FDCWD, path.c_str(), uid, gid, flags));
}

void call_fchown(Call& call) {
  const int handle = call.handle();
  const uid_t uid = some_id(call);
  const gid_t gid = some_group(call, uid);
  call.say(" {} {}", uid, gid);
  call.answer(fchown(handle, uid, gid));
}

timespec some_time(Call& call) {
  const timespec omit{0, UTIME_OMIT};
  const timespec now{0, UTIME_NOW};
  const timespec old{1000000000, 123456789};
  const timespec first{0, 0};
  const timespec before{-2, 5};
  const timespec late{(time_t{1} << 32) + 7, 999999999};
  const timespec wrong{0, 1000000000};
  timespec time = call.pick({omit, now, old, first, before, late, old, now});
  if (call.chance.one_in(50)) time = wrong;
  return time;
}

void call_utimens(Call& call) {
  const std::string path = call.path();
  const std::array<timespec, 2> times{some_time(call), some_time(call)};
  const int flags = call.some_of({AT_SYMLINK_NOFOLLOW}, 3);
  call.say(" {} {}.{} {}.{} {:#x}", path, times[0].tv_sec, times[0].tv_nsec, times[1].tv_sec,
           times[1].tv_nsec, flags);
  call.answer(utimensat(AT_FDCWD, path.c_str(), times.data(), flags));
}

void call_futimens(Call& call) {
  const int handle = call.handle();
  const std::array<timespec, 2> times{some_time(call), some_time(call)};
  call.say(" {}.{} {}.{}", times[0].tv_sec, times[0].tv_nsec, times[1].tv_sec, times[1].tv_nsec);
  call.answer(futimens(handle, times.data()));
}

void call_access(Call& call) {
  const std::string path = call.path();
  const int how = call.pick({F_OK, R_OK, W_OK, X_OK, R_OK | W_OK, R_OK | X_OK});
  call.say(" {} {}", path, how);
  call.answer(faccessat(AT_FDCWD, path.c_str(), how, AT_EACCESS));
}

// --- Extended attributes -------------------------------------------------------------------------

std::string xattr_name(Call& call) {
  const std::string own(1, static_cast<char>('a' + call.chance.below(3)));
  std::string prefix = call.pick<std::string>(
      {"user.", "user.", "user.", "trusted.", "security.", "system.", "other.", ""});
  if (call.chance.one_in(60)) return prefix;
  if (call.chance.one_in(60)) return prefix + std::string(255 - prefix.size(), 'x');
  if (call.chance.one_in(60)) return prefix + std::string(256 - prefix.size(), 'x');
  return prefix + own;
}

void call_setxattr(Call& call) {
  const std::string path = call.path();
  const std::string name = xattr_name(call);
  std::vector<std::byte> value(call.pick({0U, 1U, 30U, 200U}));
  if (call.chance.one_in(100)) value.resize(XATTR_SIZE_MAX + 1);
  exerciser::fill_pattern(call.chance.next(), value);
  const int flags = call.pick<int>({0, 0, 0, XATTR_CREATE, XATTR_REPLACE, 4});
  const bool follows = call.chance.one_in(2);
  // Set to the value that it has: whether that stamps the file is every file system's own.
  if (value.empty() &&
      (follows ? getxattr : lgetxattr)(path.c_str(), name.c_str(), nullptr, 0) == 0) {
    value.resize(1);
  }
  call.say(" {} {} ({}) {} {:#x} {}", path, name.substr(0, 30), name.size(), value.size(), flags,
           follows);
  call.answer((follows ? setxattr : lsetxattr)(path.c_str(), name.c_str(), value.data(),
                                               value.size(), flags));
}

void call_getxattr(Call& call) {
  const std::string path = call.path();
  const std::string name = xattr_name(call);
  std::vector<char> value(call.pick({0U, 1U, 200U, 200U}));
  call.say(" {} {} ({}) {}", path, name.substr(0, 30), name.size(), value.size());
  const ssize_t bytes = lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
  call.answer(bytes);
  if (bytes > 0 && !value.empty()) {
    call.detail("{:x}", hash_of(value.data(), static_cast<std::size_t>(bytes)));
  }
}

void call_removexattr(Call& call) {
  const std::string path = call.path();
  const std::string name = xattr_name(call);
  call.say(" {} {} ({})", path, name.substr(0, 30), name.size());
  call.answer(lremovexattr(path.c_str(), name.c_str()));
}

void call_listxattr(Call& call) {
  const std::string path = call.path();
  std::vector<char> list(call.pick({0U, 1U, 4096U, 4096U}));
  call.say(" {} {}", path, list.size());
  const ssize_t bytes = llistxattr(path.c_str(), list.data(), list.size());
  call.answer(bytes);
  if (bytes <= 0 || list.empty()) return;
  std::vector<std::string> names;
  for (const char* name = list.data(); name < list.data() + bytes; name += std::strlen(name) + 1) {
    names.emplace_back(name);
  }
  std::ranges::sort(names);
  for (const std::string& name : names) call.detail("{}", name.substr(0, 30));
}

// --- Access lists --------------------------------------------------------------------------------

constexpr std::array kAclNames{"system.posix_acl_access", "system.posix_acl_default"};

// A list as the kernel's interface has it; now and then one that is wrong.
std::string random_acl(Call& call) {
  std::vector<posix_acl_xattr_entry> entries;
  const auto add = [&](unsigned tag, std::uint32_t id) {
    entries.push_back({static_cast<__le16>(tag), static_cast<__le16>(call.chance.below(8)), id});
  };
  constexpr auto kNoId = static_cast<std::uint32_t>(ACL_UNDEFINED_ID);
  add(ACL_USER_OBJ, kNoId);
  const bool names_users = call.chance.one_in(2);
  const bool names_groups = call.chance.one_in(3);
  if (names_users) add(ACL_USER, 1001);
  if (names_users && call.chance.one_in(2)) add(ACL_USER, 1002);
  add(ACL_GROUP_OBJ, kNoId);
  if (names_groups) add(ACL_GROUP, 1003);
  if (names_users || names_groups || call.chance.one_in(4)) add(ACL_MASK, kNoId);
  add(ACL_OTHER, kNoId);
  std::uint32_t version = POSIX_ACL_XATTR_VERSION;
  switch (call.chance.below(30)) {
    case 0:
      entries.erase(entries.begin() + static_cast<long>(call.chance.below(entries.size())));
      break;
    case 1:
      std::swap(entries.front(), entries.back());
      break;
    case 2:
      version = 1;
      break;
    case 3:
      entries.clear();
      break;
    case 4:
      entries.front().e_perm = 8;
      break;
    default:
      break;
  }
  std::string acl(reinterpret_cast<const char*>(&version), sizeof version);
  acl.append(reinterpret_cast<const char*>(entries.data()), entries.size() * sizeof entries[0]);
  if (call.chance.one_in(60)) acl.pop_back();
  return acl;
}

void call_set_acl(Call& call) {
  const std::string path = call.path();
  const char* name = call.pick({kAclNames[0], kAclNames[1]});
  const std::string acl = random_acl(call);
  call.say(" {} {} {} bytes, {:x}", path, name, acl.size(), hash_of(acl.data(), acl.size()));
  // An empty list removes; where there is none, ext4 does not stamp the file.
  const bool is_empty = acl.size() == sizeof(posix_acl_xattr_header);
  if (is_empty && getxattr(path.c_str(), name, nullptr, 0) < 0) return;
  call.answer(setxattr(path.c_str(), name, acl.data(), acl.size(), 0));
}

void call_get_acl(Call& call) {
  const std::string path = call.path();
  const char* name = call.pick({kAclNames[0], kAclNames[1]});
  std::array<char, 400> acl{};
  call.say(" {} {}", path, name);
  const ssize_t bytes = getxattr(path.c_str(), name, acl.data(), acl.size());
  call.answer(bytes);
  if (bytes > 0) call.detail("{:x}", hash_of(acl.data(), static_cast<std::size_t>(bytes)));
}

// tmpfs takes the set-group-id bit away when somebody removes a list who could not give that bit,
// as setting a list does everywhere; ext4 and XFS leave it.
bool removal_may_change_mode(const std::string& path) {
  struct stat status{};
  return geteuid() != 0 && stat(path.c_str(), &status) == 0 && (status.st_mode & S_ISGID) != 0;
}

void call_remove_acl(Call& call) {
  const std::string path = call.path();
  const char* name = call.pick({kAclNames[0], kAclNames[1]});
  call.say(" {} {}", path, name);
  if (removal_may_change_mode(path)) return;
  call.answer(removexattr(path.c_str(), name));
}

constexpr std::array kCalls{
    CallKind{"stat", 10, call_stat},
    CallKind{"chmod", 25, call_chmod},
    CallKind{"fchmod", 10, call_fchmod},
    CallKind{"chown", 20, call_chown},
    CallKind{"fchown", 10, call_fchown},
    CallKind{"utimens", 15, call_utimens},
    CallKind{"futimens", 10, call_futimens},
    CallKind{"access", 20, call_access},
    CallKind{"setxattr", 25, call_setxattr},
    CallKind{"getxattr", 20, call_getxattr},
    CallKind{"listxattr", 10, call_listxattr},
    CallKind{"removexattr", 10, call_removexattr},
    CallKind{"set-acl", 25, call_set_acl},
    CallKind{"get-acl", 10, call_get_acl},
    CallKind{"remove-acl", 10, call_remove_acl},
};

}  // namespace

std::span<const CallKind> attribute_calls() { return kCalls; }

}  // namespace rram::differential
