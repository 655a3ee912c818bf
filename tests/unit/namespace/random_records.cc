#include "tests/unit/namespace/random_records.h"

#include <array>
#include <utility>

namespace rram {

NamespaceLimits tight_limits() {
  return {.max_inodes = 30,
          .max_name_bytes = 12,
          .max_symlink_bytes = 20,
          .max_links = 5,
          .max_file_bytes = 100'000,
          .max_xattr_name_bytes = 20,
          .max_xattr_value_bytes = 30,
          .max_xattr_list_bytes = 40,
          .max_xattr_total_bytes = 80};
}

Ino RandomRecords::any_inode() {
  if (one_in(40)) {
    return below(1'000'000);
  }
  if (others_.empty() || one_in(3)) {
    return directories_[below(directories_.size())];
  }
  return others_[below(others_.size())];
}

Ino RandomRecords::parent() {
  return one_in(25) ? any_inode() : directories_[below(directories_.size())];
}

std::string RandomRecords::name() {
  using namespace std::string_literals;
  static const std::array kBad{""s, "."s, ".."s, "a/b"s, "a\0"s, "twelve-bytes"s, "thirteen-byte"s};
  if (one_in(40)) {
    return kBad[below(kBad.size())];
  }
  return std::string(1, static_cast<char>('a' + below(4)));
}

std::string RandomRecords::xattr_name() {
  using namespace std::string_literals;
  static const std::array kBad{"user."s, "system.a"s, "nothing"s,
                               ""s,      "user.\0"s,  "user.longer-than-twenty"s};
  static const std::array kPrefixes{"user."s, "trusted."s, "security."s};
  if (one_in(10)) {
    return kBad[below(kBad.size())];
  }
  return kPrefixes[below(kPrefixes.size())] + static_cast<char>('a' + below(3));
}

std::uint32_t RandomRecords::mode() {
  constexpr std::array<std::uint32_t, 12> kTypes{S_IFREG, S_IFREG, S_IFREG,  S_IFREG,
                                                 S_IFDIR, S_IFDIR, S_IFDIR,  S_IFLNK,
                                                 S_IFIFO, S_IFCHR, S_IFSOCK, S_IFBLK};
  if (one_in(60)) {
    return static_cast<std::uint32_t>(below(1U << 16));
  }
  return kTypes[below(kTypes.size())] | static_cast<std::uint32_t>(below(010000));
}

Timestamp RandomRecords::instant() {
  now_seconds_ += 1;
  if (one_in(200)) {
    return {.seconds = now_seconds_, .nanoseconds = 1'000'000'000};
  }
  return {.seconds = now_seconds_, .nanoseconds = static_cast<std::uint32_t>(below(1'000'000'000))};
}

Create RandomRecords::create() {
  Create result{.parent = parent(),
                .name = name(),
                .mode = mode(),
                .uid = static_cast<std::uint32_t>(below(5)),
                .gid = static_cast<std::uint32_t>(below(5)),
                .umask = one_in(2) ? 0 : static_cast<std::uint32_t>(below(01000)),
                .rdev = static_cast<std::uint32_t>(below(5)),
                .at = instant()};
  if (is_symlink(result.mode) != one_in(30)) {
    result.symlink_target = std::string(below(23), one_in(20) ? '\0' : 't');
  }
  return result;
}

CreateUnnamed RandomRecords::create_unnamed() {
  return {.parent = parent(),
          .mode = static_cast<std::uint32_t>(below(010000)),
          .uid = static_cast<std::uint32_t>(below(5)),
          .gid = static_cast<std::uint32_t>(below(5)),
          .umask = static_cast<std::uint32_t>(below(01000)),
          .may_be_linked = !one_in(4),
          .at = instant()};
}

Rename RandomRecords::rename() {
  constexpr std::array kModes{RenameMode::kReplace, RenameMode::kReplace, RenameMode::kNoReplace,
                              RenameMode::kExchange};
  return {.old_parent = parent(),
          .old_name = name(),
          .new_parent = parent(),
          .new_name = name(),
          .mode = kModes[below(kModes.size())],
          .whiteout = one_in(8) ? std::optional(Whiteout{.uid = 3, .gid = 4}) : std::nullopt,
          .at = instant()};
}

SetAttributes RandomRecords::set_attributes() {
  SetAttributes result{.ino = any_inode(), .clear_set_id = static_cast<ClearSetId>(below(3))};
  if (one_in(3)) {
    result.mode = mode();
  }
  if (one_in(4)) {
    result.uid = static_cast<std::uint32_t>(below(9));
  }
  if (one_in(4)) {
    result.gid = static_cast<std::uint32_t>(below(9));
  }
  if (one_in(3)) {
    result.size_bytes = below(110'000);
  }
  if (one_in(5)) {
    result.atime = instant();
  }
  if (one_in(5)) {
    result.mtime = instant();
  }
  if (one_in(5)) {
    result.ctime = instant();
  }
  result.at = instant();
  return result;
}

SetXattr RandomRecords::set_xattr() {
  constexpr std::array kModes{XattrMode::kCreateOrReplace, XattrMode::kCreateOrReplace,
                              XattrMode::kCreate, XattrMode::kReplace};
  return {.ino = any_inode(),
          .name = xattr_name(),
          .value = std::string(below(33), static_cast<char>(below(256))),
          .mode = kModes[below(kModes.size())],
          .at = instant()};
}

Record RandomRecords::next() {
  const std::uint64_t kind = below(100);
  if (kind < 20) {
    return create();
  }
  if (kind < 22) {
    return create_unnamed();
  }
  if (kind < 26) {
    return Link{.ino = any_inode(), .new_parent = parent(), .new_name = name(), .at = instant()};
  }
  if (kind < 46) {
    return Unlink{.parent = parent(), .name = name(), .at = instant()};
  }
  if (kind < 62) {
    return RemoveDirectory{.parent = parent(), .name = name(), .at = instant()};
  }
  if (kind < 80) {
    return rename();
  }
  if (kind < 85) {
    return set_attributes();
  }
  if (kind < 88) {
    return Extend{.ino = any_inode(), .size_bytes = below(110'000), .at = instant()};
  }
  if (kind < 90) {
    return Touch{.ino = any_inode(),
                 .atime = one_in(2),
                 .mtime = one_in(2),
                 .ctime = one_in(2),
                 .at = instant()};
  }
  if (kind < 96) {
    return set_xattr();
  }
  return RemoveXattr{.ino = any_inode(), .name = xattr_name(), .at = instant()};
}

}  // namespace rram
