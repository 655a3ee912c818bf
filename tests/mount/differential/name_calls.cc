// Calls about names: making, linking, moving, removing, listing.
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>

#include "tests/mount/differential/call.h"
#include "tests/mount/differential/look.h"

namespace rram::differential {

namespace {

void call_mkdir(Call& call) {
  const std::string path = call.path();
  const mode_t mode = call.mode();
  call.say(" {} {:o}", path, mode);
  call.answer(mkdir(path.c_str(), mode));
}

void call_rmdir(Call& call) {
  const std::string path = call.path();
  call.say(" {}", path);
  call.answer(rmdir(path.c_str()));
}

void call_unlink(Call& call) {
  const std::string path = call.path();
  call.say(" {}", path);
  call.answer(unlink(path.c_str()));
}

void call_mknod(Call& call) {
  const std::string path = call.path();
  const mode_t type = call.pick<mode_t>({S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK, 0, S_IFDIR});
  const mode_t mode = type | call.mode();
  const dev_t device = makedev(call.pick({0U, 1U, 259U, 4095U}), call.pick({0U, 3U, 300U, 70000U}));
  call.say(" {} {:o} {}:{}", path, mode, major(device), minor(device));
  call.answer(mknod(path.c_str(), mode, device));
}

void call_symlink(Call& call) {
  std::string target = call.path();
  switch (call.chance.below(12)) {
    case 0:
      target = std::string(PATH_MAX - 1, 't');
      break;
    case 1:
      target = std::string(PATH_MAX, 't');
      break;
    case 2: {
      target.clear();
      while (target.size() + 2 < PATH_MAX) target += "./";
      target += "a";
      break;
    }
    default:
      break;
  }
  const std::string path = call.path();
  call.say(" {} ({} bytes) {}", target.substr(0, 40), target.size(), path);
  call.answer(symlink(target.c_str(), path.c_str()));
}

void call_readlink(Call& call) {
  const std::string path = call.path();
  std::array<char, PATH_MAX> target{};
  const std::size_t room = call.pick({std::size_t{1}, std::size_t{0}, target.size()});
  call.say(" {} {}", path, room);
  const ssize_t bytes = readlink(path.c_str(), target.data(), room);
  call.answer(bytes);
  if (bytes >= 0) call.detail("{:x}", hash_of(target.data(), static_cast<std::size_t>(bytes)));
}

void call_link(Call& call) {
  const std::string from = call.path();
  const std::string to = call.path();
  const int flags = call.some_of({AT_SYMLINK_FOLLOW});
  call.say(" {} {} {:#x}", from, to, flags);
  call.answer(linkat(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags));
}

// Gives a name to what is open, an unnamed temporary file before all.
void call_link_handle(Call& call) {
  const int from = call.handle();
  const std::string to = call.path();
  call.say(" {}", to);
  call.answer(linkat(from, "", AT_FDCWD, to.c_str(), AT_EMPTY_PATH));
}

void rename_with(Call& call, unsigned flags) {
  const std::string from = call.path();
  const std::string to = call.path();
  call.say(" {} {} {:#x}", from, to, flags);
  call.answer(renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags));
}

void call_rename(Call& call) { rename_with(call, 0); }

void call_rename_flags(Call& call) {
  rename_with(call, call.pick({static_cast<unsigned>(RENAME_NOREPLACE),
                               static_cast<unsigned>(RENAME_EXCHANGE),
                               static_cast<unsigned>(RENAME_EXCHANGE | RENAME_NOREPLACE), 0x40U}));
}

void call_rename_whiteout(Call& call) {
  rename_with(call, RENAME_WHITEOUT | (call.chance.one_in(3) ? RENAME_NOREPLACE : 0U));
}

void call_list(Call& call) {
  const std::string path = call.path();
  call.say(" {}", path);
  DIR* stream = opendir(path.c_str());
  call.answer(stream == nullptr ? -1 : 0);
  if (stream == nullptr) return;
  std::vector<std::string> names;
  while (const dirent* entry = readdir(stream)) {
    names.push_back(fmt::format("{}:{}", entry->d_name, entry->d_type));
  }
  // The order of entries is every file system's own.
  std::ranges::sort(names);
  for (const std::string& name : names) call.detail("{}", name);
  closedir(stream);
}

constexpr std::array kCalls{
    CallKind{"mkdir", 40, call_mkdir},
    CallKind{"rmdir", 20, call_rmdir},
    CallKind{"unlink", 30, call_unlink},
    CallKind{"mknod", 15, call_mknod},
    CallKind{"symlink", 20, call_symlink},
    CallKind{"readlink", 10, call_readlink},
    CallKind{"link", 30, call_link},
    CallKind{"link-handle", 10, call_link_handle},
    CallKind{"rename", 40, call_rename},
    CallKind{"rename-flags", 20, call_rename_flags},
    CallKind{"rename-whiteout", 5, call_rename_whiteout},
    CallKind{"list", 15, call_list},
};

}  // namespace

std::span<const CallKind> name_calls() { return kCalls; }

}  // namespace rram::differential
