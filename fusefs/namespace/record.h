// Every change of the namespace as a value. The state of a namespace is a function of the records
// that were applied to it, in order: a journal that keeps the accepted ones can replay them later
// into the same tree, with the same inode numbers, times and directory cookies.
//
// A record names the instant it happens at; a valid one has less than 10^9 nanoseconds. Handles and
// kernel lookups are not changes of the tree and are not recorded: a record about an inode that
// only they kept alive (no name is left) fails on replay with kStale and changes nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "fusefs/namespace/attributes.h"

namespace rram {

// A new inode of any type with its first name. The type is in `mode`, whose permission bits mean
// nothing for a symbolic link. In a directory with S_ISGID the new inode takes the directory's
// group, and a new directory its S_ISGID. In a directory with a default access list that list
// limits the mode, and the inode inherits it; elsewhere `umask` is taken from the mode.
struct Create {
  Ino parent = 0;
  std::string name;
  std::uint32_t mode = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t umask = 0;
  std::uint32_t rdev = 0;      // character and block devices; ignored for the others
  std::string symlink_target;  // symbolic links: 1 .. max_symlink_bytes, no NUL; else empty
  Timestamp at;
  bool operator==(const Create&) const = default;
};

// A new regular file without a name (O_TMPFILE), otherwise as Create would make it. It begins with
// one lookup of the kernel's, which keeps it alive.
struct CreateUnnamed {
  Ino parent = 0;
  std::uint32_t mode = 0;  // permission bits
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t umask = 0;
  bool may_be_linked = true;  // Link may give it its first name
  Timestamp at;
  bool operator==(const CreateUnnamed&) const = default;
};

// One more name for a file.
struct Link {
  Ino ino = 0;
  Ino new_parent = 0;
  std::string new_name;
  Timestamp at;
  bool operator==(const Link&) const = default;
};

// Takes a name from anything but a directory.
struct Unlink {
  Ino parent = 0;
  std::string name;
  Timestamp at;
  bool operator==(const Unlink&) const = default;
};

// Takes the name from an empty directory.
struct RemoveDirectory {
  Ino parent = 0;
  std::string name;
  Timestamp at;
  bool operator==(const RemoveDirectory&) const = default;
};

enum class RenameMode : std::uint8_t {
  kReplace,    // rename(2)
  kNoReplace,  // RENAME_NOREPLACE
  kExchange,   // RENAME_EXCHANGE: both names exist before and after
};

// What stays under the old name (RENAME_WHITEOUT): a character device 0:0, which overlays take for
// "nothing here".
struct Whiteout {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  bool operator==(const Whiteout&) const = default;
};

struct Rename {
  Ino old_parent = 0;
  std::string old_name;
  Ino new_parent = 0;
  std::string new_name;
  RenameMode mode = RenameMode::kReplace;
  std::optional<Whiteout> whiteout;  // not with kExchange
  Timestamp at;
  bool operator==(const Rename&) const = default;
};

// Which set-id bits a change of a file takes away, as Linux does it.
enum class ClearSetId : std::uint8_t {
  kNone,
  kExecutable,  // S_ISUID, and S_ISGID where the group may execute
  kAll,         // S_ISGID in any case: the caller is not in the file's group
};

// chmod, chown, truncate, utimens: what has a value is set; a mode goes into the access list, too,
// where there is one. ctime becomes `at` unless it has a
// value of its own; a size sets mtime to `at` too, unless mtime has a value.
struct SetAttributes {
  Ino ino = 0;
  std::optional<std::uint32_t> mode;  // only the permission bits are used
  std::optional<std::uint32_t> uid;
  std::optional<std::uint32_t> gid;
  std::optional<std::uint64_t> size_bytes;
  std::optional<Timestamp> atime;
  std::optional<Timestamp> mtime;
  std::optional<Timestamp> ctime;
  // Done after `mode`; ignored for directories, where these bits mean something else.
  ClearSetId clear_set_id = ClearSetId::kNone;
  Timestamp at;
  bool operator==(const SetAttributes&) const = default;
};

// A write: the file is at least `size_bytes` long afterwards; mtime and ctime become `at`.
struct Extend {
  Ino ino = 0;
  std::uint64_t size_bytes = 0;
  Timestamp at;
  bool operator==(const Extend&) const = default;
};

// Sets the chosen times to `at`: a read (atime), a punched hole (mtime and ctime).
struct Touch {
  Ino ino = 0;
  bool atime = false;
  bool mtime = false;
  bool ctime = false;
  Timestamp at;
  bool operator==(const Touch&) const = default;
};

enum class XattrMode : std::uint8_t {
  kCreateOrReplace,
  kCreate,   // XATTR_CREATE: fails with kExists
  kReplace,  // XATTR_REPLACE: fails with kNoAttribute
};

// The value of an access list (acl.h) must be one, and sets the mode; one that says no more than a
// mode is not kept.
struct SetXattr {
  Ino ino = 0;
  std::string name;
  std::string value;
  XattrMode mode = XattrMode::kCreateOrReplace;
  bool clears_set_gid = false;  // with an access list: the caller is not in the file's group
  Timestamp at;
  bool operator==(const SetXattr&) const = default;
};

// An access list that is not there may be removed: only ctime changes, as on tmpfs.
struct RemoveXattr {
  Ino ino = 0;
  std::string name;
  Timestamp at;
  bool operator==(const RemoveXattr&) const = default;
};

using Record = std::variant<Create, CreateUnnamed, Link, Unlink, RemoveDirectory, Rename,
                            SetAttributes, Extend, Touch, SetXattr, RemoveXattr>;

// What a record did.
struct Outcome {
  // The inode that was created, linked, unlinked, moved or changed, as it is after the change (its
  // last state, if the change destroyed it).
  Attributes attributes;
  // The inode that is gone for good: no name, no open handle, no kernel lookup. Its blocks can be
  // freed. No record destroys more than one.
  std::optional<Ino> destroyed;
};

}  // namespace rram
