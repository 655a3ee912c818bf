// How each kind of record changes the namespace, Rename excepted (namespace_rename.cc). Each
// apply_change() first checks all that can fail and then changes; nothing is ever undone.
#include <algorithm>
#include <cassert>
#include <string>
#include <variant>

#include "fusefs/heap_cost.h"
#include "fusefs/namespace/acl.h"
#include "fusefs/namespace/namespace.h"

namespace rram {

namespace {

// What stat(2) shows as the size of a directory. POSIX leaves it open.
constexpr std::uint64_t kDirectorySizeBytes = 4096;

// What a umask and an access list are about.
constexpr std::uint32_t kAccessBits = 0777;

// Permissions of a symbolic link mean nothing; Linux shows all of them.
constexpr std::uint32_t kSymlinkMode = S_IFLNK | 0777;

bool has_valid_times(const SetAttributes& set) {
  const Timestamp fine;
  return is_valid(set.atime.value_or(fine)) && is_valid(set.mtime.value_or(fine)) &&
         is_valid(set.ctime.value_or(fine));
}

std::uint32_t without_set_id(std::uint32_t mode, ClearSetId which) {
  if (which == ClearSetId::kNone) return mode;
  // S_ISGID without group execution once meant mandatory locking.
  const bool clears_group = which == ClearSetId::kAll || (mode & S_IXGRP) != 0;
  return mode & ~static_cast<std::uint32_t>(clears_group ? S_ISUID | S_ISGID : S_ISUID);
}

// The list of that name, if the inode has one.
std::optional<Acl> acl_of(const Inode& inode, std::string_view name) {
  if (!inode.extra) return std::nullopt;
  const Result<std::string_view> value = inode.extra->xattrs.find(name);
  if (!value) return std::nullopt;
  const Result<Acl> acl = Acl::parse(*value);
  assert(acl);  // only lists are kept under these names
  return *acl;
}

// Lists that the inode has had, or its directory: no limit can be in their way.
void keep_acl(Inode& inode, std::string_view name, const Acl& acl) {
  [[maybe_unused]] const Status kept = inode.make_extra().xattrs.set(
      name, acl.value(), XattrMode::kCreateOrReplace, NamespaceLimits{});
  assert(kept);
}

}  // namespace

Result<Outcome> Namespace::apply(const Record& record) {
  return std::visit(
      [this](const auto& change) -> Result<Outcome> {
        if (!is_valid(change.at)) {
          return fail(ErrorCode::kInvalidArgument);
        }
        return apply_change(change);
      },
      record);
}

// --- Names ---------------------------------------------------------------------------------------

Status Namespace::check_create(const Create& create, const Slot& slot) const {
  if (slot.entry != nullptr) {
    return fail(ErrorCode::kExists);
  }
  const std::string& target = create.symlink_target;
  if (!has_known_type(create.mode) || (!is_symlink(create.mode) && !target.empty()) ||
      target.find('\0') != std::string::npos) {
    return fail(ErrorCode::kInvalidArgument);
  }
  if (is_symlink(create.mode) && target.empty()) {
    return fail(ErrorCode::kNotFound);
  }
  if (target.size() > limits_.max_symlink_bytes) {
    return fail(ErrorCode::kNameTooLong);
  }
  if (is_directory(create.mode) && slot.directory->nlink >= limits_.max_links) {
    return fail(ErrorCode::kTooManyLinks);
  }
  return check_room_for_inode();
}

Status Namespace::check_memory() const {
  if (used_bytes() >= limits_.max_memory_bytes) {
    return fail(ErrorCode::kNoSpace);
  }
  return {};
}

Status Namespace::check_room_for_inode() const {
  if (inodes_.size() >= limits_.max_inodes) {
    return fail(ErrorCode::kNoSpace);
  }
  return check_memory();
}

Result<Outcome> Namespace::apply_change(const Create& create) {
  const auto slot = find_slot(create.parent, create.name);
  if (!slot) {
    return std::unexpected(slot.error());
  }
  if (auto good = check_create(create, *slot); !good) {
    return std::unexpected(good.error());
  }
  Inode& parent = *slot->directory;
  Inode& inode = add_child(parent, create);
  if (inode.is_directory()) {
    inode.directory().set_parent(&parent);
    ++parent.nlink;
  }
  add_entry(parent, create.name, inode);
  parent.set_modified(create.at);
  return Outcome{.attributes = attributes_of(inode), .destroyed = std::nullopt};
}

Result<Outcome> Namespace::apply_change(const CreateUnnamed& create) {
  const auto parent = find_directory(create.parent);
  if (!parent) {
    return std::unexpected(parent.error());
  }
  if (auto room = check_room_for_inode(); !room) {
    return std::unexpected(room.error());
  }
  Inode& inode = add_child(**parent, {.mode = S_IFREG | (create.mode & kModePermissionBits),
                                      .uid = create.uid,
                                      .gid = create.gid,
                                      .umask = create.umask,
                                      .at = create.at});
  inode.nlink = 0;
  inode.lookup_count = 1;
  inode.is_linkable = create.may_be_linked ? 1 : 0;
  return Outcome{.attributes = attributes_of(inode), .destroyed = std::nullopt};
}

Result<Outcome> Namespace::apply_change(const Link& link) {
  const auto slot = find_slot(link.new_parent, link.new_name);
  if (!slot) {
    return std::unexpected(slot.error());
  }
  const auto found = find_inode(link.ino);
  if (!found) {
    return std::unexpected(found.error());
  }
  Inode& inode = **found;
  if (slot->entry != nullptr) {
    return fail(ErrorCode::kExists);
  }
  if (inode.is_directory()) {
    return fail(ErrorCode::kNotPermitted);
  }
  if (inode.nlink == 0 && inode.is_linkable == 0) {
    return fail(ErrorCode::kNotFound);
  }
  if (inode.nlink >= limits_.max_links) {
    return fail(ErrorCode::kTooManyLinks);
  }
  if (auto room = check_memory(); !room) {
    return std::unexpected(room.error());
  }
  add_entry(*slot->directory, link.new_name, inode);
  slot->directory->set_modified(link.at);
  ++inode.nlink;
  if (inode.nlink > 1) inode.was_linked = 1;
  inode.is_linkable = 0;
  inode.set_time(TimeKind::kChange, link.at);
  return Outcome{.attributes = attributes_of(inode), .destroyed = std::nullopt};
}

Result<Outcome> Namespace::apply_change(const Unlink& unlink) {
  const auto slot = find_slot(unlink.parent, unlink.name);
  if (!slot) {
    return std::unexpected(slot.error());
  }
  if (slot->entry == nullptr) {
    return fail(ErrorCode::kNotFound);
  }
  Inode& inode = slot->entry->inode();
  if (inode.is_directory()) {
    return fail(ErrorCode::kIsDirectory);
  }
  remove_entry(*slot->directory, *slot->entry);
  slot->directory->set_modified(unlink.at);
  return finish_removal(inode, unlink.at);
}

Result<Outcome> Namespace::apply_change(const RemoveDirectory& remove) {
  const auto slot = find_slot(remove.parent, remove.name);
  if (!slot) {
    return std::unexpected(slot.error());
  }
  if (slot->entry == nullptr) {
    return fail(ErrorCode::kNotFound);
  }
  Inode& inode = slot->entry->inode();
  if (!inode.is_directory()) {
    return fail(ErrorCode::kNotDirectory);
  }
  if (!inode.directory().empty()) {
    return fail(ErrorCode::kNotEmpty);
  }
  remove_entry(*slot->directory, *slot->entry);
  slot->directory->set_modified(remove.at);
  --slot->directory->nlink;
  return finish_removal(inode, remove.at);
}

// --- Attributes ----------------------------------------------------------------------------------

Status Namespace::check_size(const Inode& inode, std::uint64_t size_bytes) const {
  if (inode.is_directory()) {
    return fail(ErrorCode::kIsDirectory);
  }
  if (!is_regular(inode.mode)) {
    return fail(ErrorCode::kInvalidArgument);
  }
  if (size_bytes > limits_.max_file_bytes) {
    return fail(ErrorCode::kFileTooBig);
  }
  return {};
}

Result<Outcome> Namespace::apply_change(const SetAttributes& set) {
  if (!has_valid_times(set)) {
    return fail(ErrorCode::kInvalidArgument);
  }
  const auto found = find_inode(set.ino);
  if (!found) {
    return std::unexpected(found.error());
  }
  Inode& inode = **found;
  if (set.size_bytes) {
    if (auto good = check_size(inode, *set.size_bytes); !good) {
      return std::unexpected(good.error());
    }
    inode.size_bytes = *set.size_bytes;
    inode.set_time(TimeKind::kModification, set.at);
  }
  if (set.mode) {
    inode.mode = (inode.mode & kModeTypeBits) | (*set.mode & kModePermissionBits);
    if (auto acl = acl_of(inode, kAccessAclName)) {
      acl->set_mode_bits(inode.mode);
      keep_acl(inode, kAccessAclName, *acl);
    }
  }
  if (!inode.is_directory()) {
    inode.mode = without_set_id(inode.mode, set.clear_set_id);
  }
  inode.uid = set.uid.value_or(inode.uid);
  inode.gid = set.gid.value_or(inode.gid);
  inode.set_time(TimeKind::kAccess, set.atime.value_or(inode.time(TimeKind::kAccess)));
  inode.set_time(TimeKind::kModification, set.mtime.value_or(inode.time(TimeKind::kModification)));
  inode.set_time(TimeKind::kChange, set.ctime.value_or(set.at));
  return Outcome{.attributes = attributes_of(inode), .destroyed = std::nullopt};
}

Result<Outcome> Namespace::apply_change(const Extend& extend) {
  const auto found = find_inode(extend.ino);
  if (!found) {
    return std::unexpected(found.error());
  }
  Inode& inode = **found;
  if (auto good = check_size(inode, extend.size_bytes); !good) {
    return std::unexpected(good.error());
  }
  inode.size_bytes = std::max(inode.size_bytes, extend.size_bytes);
  inode.set_modified(extend.at);
  return Outcome{.attributes = attributes_of(inode), .destroyed = std::nullopt};
}

Result<Outcome> Namespace::apply_change(const Touch& touch) {
  const auto found = find_inode(touch.ino);
  if (!found) {
    return std::unexpected(found.error());
  }
  Inode& inode = **found;
  if (touch.atime) {
    inode.set_time(TimeKind::kAccess, touch.at);
  }
  if (touch.mtime) {
    inode.set_time(TimeKind::kModification, touch.at);
  }
  if (touch.ctime) {
    inode.set_time(TimeKind::kChange, touch.at);
  }
  return Outcome{.attributes = attributes_of(inode), .destroyed = std::nullopt};
}

Result<Outcome> Namespace::apply_change(const SetXattr& set) {
  const auto found = find_inode(set.ino);
  if (!found) {
    return std::unexpected(found.error());
  }
  if (auto good = check_xattr_name(set.name, limits_); !good) {
    return std::unexpected(good.error());
  }
  if (auto room = check_memory(); !room) {
    return std::unexpected(room.error());
  }
  Inode& inode = **found;
  const MemoryCount count(memory_bytes_, inode);
  if (is_acl_name(set.name)) {
    if (auto done = set_acl(inode, set); !done) {
      return std::unexpected(done.error());
    }
  } else if (auto done = inode.make_extra().xattrs.set(set.name, set.value, set.mode, limits_);
             !done) {
    return std::unexpected(done.error());
  }
  inode.set_time(TimeKind::kChange, set.at);
  return Outcome{.attributes = attributes_of(inode), .destroyed = std::nullopt};
}

Result<Outcome> Namespace::apply_change(const RemoveXattr& remove) {
  const auto found = find_inode(remove.ino);
  if (!found) {
    return std::unexpected(found.error());
  }
  if (auto good = check_xattr_name(remove.name, limits_); !good) {
    return std::unexpected(good.error());
  }
  Inode& inode = **found;
  if (is_acl_name(remove.name) && !acl_of(inode, remove.name)) {
    inode.set_time(TimeKind::kChange, remove.at);
    return Outcome{.attributes = attributes_of(inode), .destroyed = std::nullopt};
  }
  if (!inode.extra) {
    return fail(ErrorCode::kNoAttribute);
  }
  const MemoryCount count(memory_bytes_, inode);
  if (auto done = inode.extra->xattrs.remove(remove.name); !done) {
    return std::unexpected(done.error());
  }
  inode.set_time(TimeKind::kChange, remove.at);
  return Outcome{.attributes = attributes_of(inode), .destroyed = std::nullopt};
}

Status Namespace::set_acl(Inode& inode, const SetXattr& set) {
  const bool is_default = set.name == kDefaultAclName;
  if (is_default && !inode.is_directory()) {
    return fail(ErrorCode::kAccessDenied);
  }
  const Result<Acl> acl = Acl::parse(set.value);
  if (!acl) {
    return std::unexpected(acl.error());
  }
  XattrTable& xattrs = inode.make_extra().xattrs;
  if (!is_default && acl->is_minimal()) {
    // There may have been none.
    [[maybe_unused]] const Status removed = xattrs.remove(kAccessAclName);
  } else if (auto kept = xattrs.set(set.name, set.value, set.mode, limits_); !kept) {
    return kept;
  }
  if (!is_default) {
    inode.mode = (inode.mode & ~kAccessBits) | acl->mode_bits();
    inode.mode &= ~static_cast<std::uint32_t>(set.clears_set_gid ? S_ISGID : 0);
  }
  return {};
}

// --- Steps ---------------------------------------------------------------------------------------

// What a new inode has from its directory: group, mode and access lists.
void Namespace::inherit(Inode& parent, const Create& create, Inode& inode) {
  if ((parent.mode & S_ISGID) != 0) {
    inode.gid = parent.gid;
    inode.mode |= inode.is_directory() ? S_ISGID : 0;
  }
  if (is_symlink(inode.mode)) {
    inode.mode = kSymlinkMode;
    return;
  }
  std::optional<Acl> acl = acl_of(parent, kDefaultAclName);
  if (!acl) {
    inode.mode &= ~(create.umask & kAccessBits);
    return;
  }
  if (inode.is_directory()) {
    keep_acl(inode, kDefaultAclName, *acl);
  }
  inode.mode = acl->restrict_to(inode.mode);
  if (!acl->is_minimal()) {
    keep_acl(inode, kAccessAclName, *acl);
  }
}

Inode& Namespace::add_child(Inode& parent, const Create& create) {
  const std::uint32_t mode = create.mode & (kModeTypeBits | kModePermissionBits);
  Inode& inode = add_inode(mode, create.uid, create.gid, create.at);
  const MemoryCount count(memory_bytes_, inode);
  inherit(parent, create, inode);
  if (is_symlink(mode)) {
    inode.make_extra().symlink_target = create.symlink_target;
    inode.size_bytes = create.symlink_target.size();
  } else if (is_device(mode)) {
    inode.make_extra().rdev = create.rdev;
  }
  return inode;
}

Inode& Namespace::add_inode(std::uint32_t mode, std::uint32_t uid, std::uint32_t gid,
                            const Timestamp& at) {
  const Ino ino = next_ino_++;
  Inode& inode = *inodes_.emplace(ino, std::make_unique<Inode>()).first->second;
  inode.ino = ino;
  inode.mode = mode;
  inode.uid = uid;
  inode.gid = gid;
  inode.nlink = 1;
  inode.set_time(TimeKind::kAccess, at);
  inode.set_modified(at);
  if (inode.is_directory()) {
    inode.nlink = 2;
    inode.size_bytes = kDirectorySizeBytes;
    inode.make_extra().directory = std::make_unique<Directory>(nullptr);
  }
  memory_bytes_ += memory_bytes(inode);
  return inode;
}

void Namespace::add_entry(Inode& directory, std::string_view name, Inode& inode) {
  const MemoryCount count(memory_bytes_, directory);
  directory.directory().add(name, inode);
}

void Namespace::remove_entry(Inode& directory, DirectoryEntry& entry) {
  const MemoryCount count(memory_bytes_, directory);
  directory.directory().remove(entry);
}

Outcome Namespace::finish_removal(Inode& inode, const Timestamp& at) {
  if (inode.is_directory()) {
    inode.nlink = 0;
    inode.directory().set_parent(nullptr);
  } else {
    --inode.nlink;
  }
  inode.set_time(TimeKind::kChange, at);
  const Attributes last = attributes_of(inode);
  return {.attributes = last, .destroyed = destroy_if_unused(inode)};
}

std::optional<Ino> Namespace::destroy_if_unused(Inode& inode) {
  if (inode.nlink != 0 || inode.lookup_count != 0 || inode.open_count != 0) {
    return std::nullopt;
  }
  const Ino ino = inode.ino;
  memory_bytes_ -= memory_bytes(inode);
  inodes_.erase(ino);
  shrink_if_sparse(inodes_);
  return ino;
}

}  // namespace rram
