// The namespace of a volume: the inodes and the directory tree of one POSIX file system, in memory.
//
// Pure: no I/O, no clock, no randomness. What changes the tree is a Record, and one function
// applies records, so that the tree is a function of the records it accepted (record.h says more).
// Not part of the tree, and not recorded, are the references to inodes that the kernel and open
// handles hold.
//
// Not checked here, because the kernel does it before it asks (default_permissions): permissions,
// sticky directories, user.* attributes on other than files and directories, trailing slashes.
//
// Errors, by what is asked, before anything is changed; where several apply, the first in this
// order:
//   kStale            no inode has this number (any more)
//   kNotDirectory     a directory was asked for and the inode is something else
//   kNotFound         the directory has been removed (it is held open only); nothing is in it
//   kInvalidArgument  a name that is empty, "." or "..", or that has a '/' or a NUL in it
//   kNameTooLong      a name longer than max_name_bytes
//   then what the function names.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "fusefs/namespace/attributes.h"
#include "fusefs/namespace/inode.h"
#include "fusefs/namespace/namespace_limits.h"
#include "fusefs/namespace/record.h"

namespace rram {

// The root directory as it is in the beginning.
struct RootAttributes {
  std::uint32_t mode = 0755;  // permission bits
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  Timestamp at;
};

// One entry as a reader of a directory sees it; the name is valid during the visit only.
struct DirectoryItem {
  std::uint64_t cookie = 0;  // go on reading after this one with after_cookie = cookie
  std::string_view name;
  Attributes attributes;  // of the inode that it names
};

// Answers false to stop. May call const functions and add_lookup() of the namespace, nothing else.
using DirectoryVisitor = std::function<bool(const DirectoryItem&)>;

struct NamespaceUsage {
  std::uint64_t inodes_used = 0;
  std::uint64_t inodes_max = 0;    // so many could be used, were the rest small files
  std::uint64_t memory_bytes = 0;  // an estimate of the heap taken, malloc's overhead included
};

// Owned by the volume and called under its lock: not thread-safe. Running out of memory throws
// std::bad_alloc, after which the namespace must not be used.
class Namespace {
 public:
  // Every inode carries `generation`; a file system that forgets its inodes at the end should give
  // each new namespace another one, so that no old (ino, generation) ever means a new file.
  Namespace(const NamespaceLimits& limits, const RootAttributes& root, std::uint64_t generation);
  ~Namespace();
  Namespace(const Namespace&) = delete;
  Namespace& operator=(const Namespace&) = delete;

  // --- Changes -----------------------------------------------------------------------------------

  // All or nothing: an error means that nothing has changed. An `at` or another time that is no
  // valid Timestamp: kInvalidArgument. Beyond the errors above:
  //
  //   Create           kExists; kInvalidArgument: no known type, a target with a NUL, or one for
  //                    what is no symbolic link; kNotFound: an empty target; kNameTooLong: a
  //                    target longer than max_symlink_bytes; kTooManyLinks: the directory has
  //                    max_links; kNoSpace: max_inodes exist, or max_memory_bytes are taken
  //   CreateUnnamed    kNoSpace
  //   Link             kStale; kExists; kNotPermitted: a directory; kNotFound: it has lost its last
  //                    name, or was made to have none; kTooManyLinks; kNoSpace: max_memory_bytes
  //                    are taken  (after the errors of the new directory and name)
  //   Unlink           kNotFound; kIsDirectory
  //   RemoveDirectory  kNotFound; kNotDirectory; kNotEmpty
  //   Rename           kNotFound: old name, or new name in an exchange; kExists: no-replace;
  //                    kInvalidArgument: a directory would come to stand inside itself;
  //                    kNotDirectory: a directory over another thing; kIsDirectory: the reverse;
  //                    kNotEmpty: over a directory with entries; kTooManyLinks: as Create. A
  //                    whiteout: kInvalidArgument in an exchange; kNoSpace, as Create.
  //                    Two names of one inode: nothing is done, and that is a success.
  //   SetAttributes    with a size: kIsDirectory; kInvalidArgument: not a regular file; kFileTooBig
  //   Extend           kIsDirectory; kInvalidArgument: not a regular file; kFileTooBig
  //   Touch            -
  //   SetXattr         those of check_xattr_name() and XattrTable::set(); kNoSpace, as Link; for an
  //                    access list those of Acl::parse(), and kAccessDenied: a default one for what
  //                    is no directory
  //   RemoveXattr      those of check_xattr_name(); kNoAttribute
  //
  // Times: a directory whose entries change gets new mtime and ctime; an inode whose links or name
  // change gets a new ctime.
  Result<Outcome> apply(const Record& record);

  // --- Questions ---------------------------------------------------------------------------------

  Result<Attributes> attributes(Ino ino) const;

  // What `name` means in the directory; "." and ".." included. kNotFound. Counts no lookup.
  Result<Attributes> lookup(Ino parent, std::string_view name) const;

  // kInvalidArgument: not a symbolic link. The view is valid until the inode is destroyed.
  Result<std::string_view> read_symlink(Ino ino) const;

  // Visits ".", "..", and the entries in the order of their cookies, beginning behind
  // `after_cookie` (0: at the beginning). Cookies stay good whatever is added or removed between
  // two calls: an entry that was there all the time is seen exactly once. A renamed entry may be
  // seen under both names, or under neither, as POSIX allows; a name that was replaced or exchanged
  // keeps its cookie.
  Status read_directory(Ino ino, std::uint64_t after_cookie, const DirectoryVisitor& visit) const;

  // The errors of check_xattr_name(); kNoAttribute. The view is valid until the inode's attributes
  // are changed or the inode is destroyed; whether it fits the asker's buffer is the caller's
  // matter.
  Result<std::string_view> xattr(Ino ino, std::string_view name) const;

  // In the order of names; none for most inodes.
  Status list_xattrs(Ino ino, const std::function<void(std::string_view)>& visit) const;

  NamespaceUsage usage() const;

  // What else counts against max_memory_bytes: the volume's block maps.
  void set_bytes_besides(std::uint64_t bytes) { bytes_besides_ = bytes; }

  // All inodes, those without a name too, in no order. `visit` must not change the namespace.
  void for_each_inode(const std::function<void(const Attributes&)>& visit) const;

  // --- References --------------------------------------------------------------------------------
  //
  // An inode without a name lives on while the kernel knows it (lookups) or a handle is open. The
  // functions that give references up return the number of the inode if that destroyed it; its
  // blocks can be freed then. Giving up more than there is, or of an inode that does not exist,
  // is the kernel's mistake and does nothing.

  // The kernel was told of this inode `count` times more (entry replies, readdirplus items).
  Status add_lookup(Ino ino, std::uint64_t count = 1);
  std::optional<Ino> forget(Ino ino, std::uint64_t count);

  // Files and directories alike.
  Status open(Ino ino);
  std::optional<Ino> close(Ino ino);

  // The end of a mount: drops every lookup and every open handle, and calls `visit` with each inode
  // that this destroyed. The tree stays.
  void drop_all_references(const std::function<void(Ino)>& visit);

 private:
  // A name in a live directory; `entry` is nullptr where nothing has that name.
  struct Slot {
    Inode* directory;
    DirectoryEntry* entry;
  };

  std::uint64_t used_bytes() const;
  Result<Inode*> find_inode(Ino ino) const;
  Result<Inode*> find_directory(Ino ino) const;
  Result<Slot> find_slot(Ino parent, std::string_view name) const;
  Status check_name(std::string_view name) const;
  Attributes attributes_of(const Inode& inode) const;

  // One per kind of record.
  Result<Outcome> apply_change(const Create& create);
  Result<Outcome> apply_change(const CreateUnnamed& create);
  Result<Outcome> apply_change(const Link& link);
  Result<Outcome> apply_change(const Unlink& unlink);
  Result<Outcome> apply_change(const RemoveDirectory& remove);
  Result<Outcome> apply_change(const Rename& rename);
  Result<Outcome> apply_change(const SetAttributes& set);
  Result<Outcome> apply_change(const Extend& extend);
  Result<Outcome> apply_change(const Touch& touch);
  Result<Outcome> apply_change(const SetXattr& set);
  Result<Outcome> apply_change(const RemoveXattr& remove);

  Status check_create(const Create& create, const Slot& slot) const;
  Status check_memory() const;
  Status check_room_for_inode() const;
  Status check_size(const Inode& inode, std::uint64_t size_bytes) const;
  Status check_replace(const Slot& from, const Slot& to) const;
  Status check_exchange(const Slot& from, const Slot& to) const;
  Result<Outcome> replace(const Rename& rename, const Slot& from, const Slot& to);
  Result<Outcome> exchange(const Rename& rename, const Slot& from, const Slot& to);

  Status set_acl(Inode& inode, const SetXattr& set);

  // Steps of changes; they cannot fail.
  Inode& add_child(Inode& parent, const Create& create);
  void inherit(Inode& parent, const Create& create, Inode& inode);
  Inode& add_inode(std::uint32_t mode, std::uint32_t uid, std::uint32_t gid, const Timestamp& at);
  void add_entry(Inode& directory, std::string_view name, Inode& inode);
  void remove_entry(Inode& directory, DirectoryEntry& entry);
  // `inode` has lost one name; the counts of its parent are the caller's.
  Outcome finish_removal(Inode& inode, const Timestamp& at);
  std::optional<Ino> destroy_if_unused(Inode& inode);

  const NamespaceLimits limits_;
  const std::uint64_t generation_;
  Ino next_ino_ = kRootIno;
  std::uint64_t memory_bytes_ = 0;  // all but the table of inodes
  std::uint64_t bytes_besides_ = 0;
  boost::unordered_flat_map<Ino, std::unique_ptr<Inode>> inodes_;
};

}  // namespace rram
