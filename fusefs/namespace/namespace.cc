#include "fusefs/namespace/namespace.h"

#include <algorithm>
#include <cassert>
#include <vector>

#include "fusefs/heap_cost.h"

namespace rram {

Namespace::Namespace(const NamespaceLimits& limits, const RootAttributes& root,
                     std::uint64_t generation)
    : limits_(limits), generation_(generation) {
  assert(limits.max_name_bytes <= kMaxEntryNameBytes);
  assert(limits.max_inodes >= 1 && limits.max_links >= 2);
  Inode& inode = add_inode(S_IFDIR | root.mode, root.uid, root.gid, root.at);
  inode.directory().set_parent(&inode);
}

Namespace::~Namespace() = default;

// --- Finding -------------------------------------------------------------------------------------

Result<Inode*> Namespace::find_inode(Ino ino) const {
  const auto found = inodes_.find(ino);
  if (found == inodes_.end()) {
    return fail(ErrorCode::kStale);
  }
  return found->second.get();
}

Result<Inode*> Namespace::find_directory(Ino ino) const {
  const auto found = inodes_.find(ino);
  if (found == inodes_.end()) {
    return fail(ErrorCode::kStale);
  }
  Inode& inode = *found->second;
  if (!inode.is_directory()) {
    return fail(ErrorCode::kNotDirectory);
  }
  if (inode.nlink == 0) {
    return fail(ErrorCode::kNotFound);
  }
  return &inode;
}

Status Namespace::check_name(std::string_view name) const {
  if (name.empty() || name == "." || name == ".." ||
      name.find_first_of(std::string_view("/\0", 2)) != std::string_view::npos) {
    return fail(ErrorCode::kInvalidArgument);
  }
  if (name.size() > limits_.max_name_bytes) {
    return fail(ErrorCode::kNameTooLong);
  }
  return {};
}

Result<Namespace::Slot> Namespace::find_slot(Ino parent, std::string_view name) const {
  const auto directory = find_directory(parent);
  if (!directory) {
    return std::unexpected(directory.error());
  }
  if (auto good = check_name(name); !good) {
    return std::unexpected(good.error());
  }
  return Slot{.directory = *directory, .entry = (*directory)->directory().find(name)};
}

Attributes Namespace::attributes_of(const Inode& inode) const {
  return {.ino = inode.ino,
          .generation = generation_,
          .size_bytes = inode.size_bytes,
          .atime = inode.time(TimeKind::kAccess),
          .mtime = inode.time(TimeKind::kModification),
          .ctime = inode.time(TimeKind::kChange),
          .mode = inode.mode,
          .uid = inode.uid,
          .gid = inode.gid,
          .nlink = inode.nlink,
          .rdev = inode.extra ? inode.extra->rdev : 0,
          .was_linked = inode.was_linked != 0};
}

// --- Questions -----------------------------------------------------------------------------------

Result<Attributes> Namespace::attributes(Ino ino) const {
  const auto inode = find_inode(ino);
  if (!inode) {
    return std::unexpected(inode.error());
  }
  return attributes_of(**inode);
}

Result<Attributes> Namespace::lookup(Ino parent, std::string_view name) const {
  if (name == "." || name == "..") {
    const auto directory = find_directory(parent);
    if (!directory) {
      return std::unexpected(directory.error());
    }
    return attributes_of(name == "." ? **directory : *(*directory)->directory().parent());
  }
  const auto slot = find_slot(parent, name);
  if (!slot) {
    return std::unexpected(slot.error());
  }
  if (slot->entry == nullptr) {
    return fail(ErrorCode::kNotFound);
  }
  return attributes_of(slot->entry->inode());
}

Result<std::string_view> Namespace::read_symlink(Ino ino) const {
  const auto inode = find_inode(ino);
  if (!inode) {
    return std::unexpected(inode.error());
  }
  if (!is_symlink((*inode)->mode)) {
    return fail(ErrorCode::kInvalidArgument);
  }
  return std::string_view((*inode)->extra->symlink_target);
}

Status Namespace::read_directory(Ino ino, std::uint64_t after_cookie,
                                 const DirectoryVisitor& visit) const {
  const auto directory = find_directory(ino);
  if (!directory) {
    return std::unexpected(directory.error());
  }
  const Inode& inode = **directory;
  if (after_cookie < kDotCookie &&
      !visit({.cookie = kDotCookie, .name = ".", .attributes = attributes_of(inode)})) {
    return {};
  }
  if (after_cookie < kDotDotCookie &&
      !visit({.cookie = kDotDotCookie,
              .name = "..",
              .attributes = attributes_of(*inode.directory().parent())})) {
    return {};
  }
  inode.directory().for_each_after(after_cookie, [&](const DirectoryEntry& entry) {
    return visit({.cookie = entry.cookie(),
                  .name = entry.name(),
                  .attributes = attributes_of(entry.inode())});
  });
  return {};
}

Result<std::string_view> Namespace::xattr(Ino ino, std::string_view name) const {
  const auto inode = find_inode(ino);
  if (!inode) {
    return std::unexpected(inode.error());
  }
  if (auto good = check_xattr_name(name, limits_); !good) {
    return std::unexpected(good.error());
  }
  if (!(*inode)->extra) {
    return fail(ErrorCode::kNoAttribute);
  }
  return (*inode)->extra->xattrs.find(name);
}

Status Namespace::list_xattrs(Ino ino, const std::function<void(std::string_view)>& visit) const {
  const auto inode = find_inode(ino);
  if (!inode) {
    return std::unexpected(inode.error());
  }
  if ((*inode)->extra) {
    (*inode)->extra->xattrs.for_each_name(visit);
  }
  return {};
}

NamespaceUsage Namespace::usage() const {
  // A small file with its name, and its share of the tables.
  constexpr std::uint64_t kTypicalBytes = 400;
  const std::uint64_t used = used_bytes();
  const std::uint64_t left = limits_.max_memory_bytes - std::min(limits_.max_memory_bytes, used);
  const std::uint64_t more =
      std::min(left / kTypicalBytes,
               limits_.max_inodes - std::min<std::uint64_t>(limits_.max_inodes, inodes_.size()));
  return {.inodes_used = inodes_.size(), .inodes_max = inodes_.size() + more, .memory_bytes = used};
}

std::uint64_t Namespace::used_bytes() const {
  return memory_bytes_ + flat_table_bytes(inodes_) + bytes_besides_;
}

void Namespace::for_each_inode(const std::function<void(const Attributes&)>& visit) const {
  for (const auto& [ino, inode] : inodes_) {
    visit(attributes_of(*inode));
  }
}

// --- References ----------------------------------------------------------------------------------

Status Namespace::add_lookup(Ino ino, std::uint64_t count) {
  const auto inode = find_inode(ino);
  if (!inode) {
    return std::unexpected(inode.error());
  }
  (*inode)->lookup_count += count;
  return {};
}

std::optional<Ino> Namespace::forget(Ino ino, std::uint64_t count) {
  const auto found = inodes_.find(ino);
  if (found == inodes_.end()) {
    return std::nullopt;
  }
  Inode& inode = *found->second;
  inode.lookup_count -= std::min(inode.lookup_count, count);
  return destroy_if_unused(inode);
}

Status Namespace::open(Ino ino) {
  const auto inode = find_inode(ino);
  if (!inode) {
    return std::unexpected(inode.error());
  }
  ++(*inode)->open_count;
  return {};
}

std::optional<Ino> Namespace::close(Ino ino) {
  const auto found = inodes_.find(ino);
  if (found == inodes_.end()) {
    return std::nullopt;
  }
  Inode& inode = *found->second;
  if (inode.open_count > 0) {
    --inode.open_count;
  }
  return destroy_if_unused(inode);
}

void Namespace::drop_all_references(const std::function<void(Ino)>& visit) {
  std::vector<Inode*> unnamed;
  for (const auto& [ino, inode] : inodes_) {
    inode->lookup_count = 0;
    inode->open_count = 0;
    if (inode->nlink == 0) {
      unnamed.push_back(inode.get());
    }
  }
  // By number, so that what the caller does with them does not depend on a hash.
  std::sort(unnamed.begin(), unnamed.end(),
            [](const Inode* a, const Inode* b) { return a->ino < b->ino; });
  for (Inode* inode : unnamed) {
    if (const auto destroyed = destroy_if_unused(*inode)) {
      visit(*destroyed);
    }
  }
}

}  // namespace rram
