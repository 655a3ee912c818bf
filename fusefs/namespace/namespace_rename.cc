// Rename: the one change that touches two directories and up to two inodes.
#include "fusefs/namespace/namespace.h"

namespace rram {

namespace {

// True if `inode` is a directory on the way from `directory` up to the root, both ends included.
bool is_on_path_to_root(const Inode& inode, const Inode& directory) {
  if (!inode.is_directory()) {
    return false;
  }
  for (const Inode* step = &directory;; step = step->directory().parent()) {
    if (step == &inode) {
      return true;
    }
    if (step->ino == kRootIno) {
      return false;
    }
  }
}

// Moves the ".." of a directory, and the link that it is; does nothing for other types.
void move_directory(Inode& moved, Inode& from, Inode& to) {
  if (moved.is_directory()) {
    --from.nlink;
    ++to.nlink;
    moved.directory().set_parent(&to);
  }
}

}  // namespace

Result<Outcome> Namespace::apply_change(const Rename& rename) {
  const auto from = find_slot(rename.old_parent, rename.old_name);
  if (!from) {
    return std::unexpected(from.error());
  }
  const auto to = find_slot(rename.new_parent, rename.new_name);
  if (!to) {
    return std::unexpected(to.error());
  }
  const bool is_exchange = rename.mode == RenameMode::kExchange;
  if (from->entry == nullptr || (is_exchange && to->entry == nullptr)) {
    return fail(ErrorCode::kNotFound);
  }
  if (rename.mode == RenameMode::kNoReplace && to->entry != nullptr) {
    return fail(ErrorCode::kExists);
  }
  if (is_exchange && rename.whiteout) {
    return fail(ErrorCode::kInvalidArgument);
  }
  Inode& moved = from->entry->inode();
  if (to->entry != nullptr && &to->entry->inode() == &moved) {
    return Outcome{.attributes = attributes_of(moved), .destroyed = std::nullopt};
  }
  if (is_on_path_to_root(moved, *to->directory)) {
    return fail(ErrorCode::kInvalidArgument);
  }
  return is_exchange ? exchange(rename, *from, *to) : replace(rename, *from, *to);
}

Status Namespace::check_replace(const Slot& from, const Slot& to) const {
  const Inode& moved = from.entry->inode();
  if (to.entry != nullptr) {
    const Inode& replaced = to.entry->inode();
    if (moved.is_directory() != replaced.is_directory()) {
      return fail(moved.is_directory() ? ErrorCode::kNotDirectory : ErrorCode::kIsDirectory);
    }
    if (replaced.is_directory() && !replaced.directory().empty()) {
      return fail(ErrorCode::kNotEmpty);
    }
    return {};
  }
  if (moved.is_directory() && from.directory != to.directory &&
      to.directory->nlink >= limits_.max_links) {
    return fail(ErrorCode::kTooManyLinks);
  }
  return {};
}

Result<Outcome> Namespace::replace(const Rename& rename, const Slot& from, const Slot& to) {
  if (auto good = check_replace(from, to); !good) {
    return std::unexpected(good.error());
  }
  if (auto room = rename.whiteout ? check_room_for_inode() : Status{}; !room) {
    return std::unexpected(room.error());
  }
  Inode& moved = from.entry->inode();
  Inode* const replaced = to.entry == nullptr ? nullptr : &to.entry->inode();
  if (replaced == nullptr) {
    add_entry(*to.directory, rename.new_name, moved);
  } else {
    to.entry->set_inode(moved);
  }
  if (rename.whiteout) {
    from.entry->set_inode(add_child(*from.directory, {.mode = S_IFCHR,
                                                      .uid = rename.whiteout->uid,
                                                      .gid = rename.whiteout->gid,
                                                      .at = rename.at}));
  } else {
    remove_entry(*from.directory, *from.entry);
  }
  move_directory(moved, *from.directory, *to.directory);
  moved.set_time(TimeKind::kChange, rename.at);
  from.directory->set_modified(rename.at);
  to.directory->set_modified(rename.at);
  Outcome outcome{.attributes = {}, .destroyed = std::nullopt};
  if (replaced != nullptr) {
    if (replaced->is_directory()) {
      --to.directory->nlink;
    }
    outcome.destroyed = finish_removal(*replaced, rename.at).destroyed;
  }
  outcome.attributes = attributes_of(moved);
  return outcome;
}

Status Namespace::check_exchange(const Slot& from, const Slot& to) const {
  const Inode& first = from.entry->inode();
  const Inode& second = to.entry->inode();
  if (is_on_path_to_root(second, *from.directory)) {
    return fail(ErrorCode::kInvalidArgument);
  }
  if (from.directory == to.directory || first.is_directory() == second.is_directory()) {
    return {};
  }
  const Inode& gains = first.is_directory() ? *to.directory : *from.directory;
  if (gains.nlink >= limits_.max_links) {
    return fail(ErrorCode::kTooManyLinks);
  }
  return {};
}

Result<Outcome> Namespace::exchange(const Rename& rename, const Slot& from, const Slot& to) {
  if (auto good = check_exchange(from, to); !good) {
    return std::unexpected(good.error());
  }
  Inode& first = from.entry->inode();
  Inode& second = to.entry->inode();
  from.entry->set_inode(second);
  to.entry->set_inode(first);
  move_directory(first, *from.directory, *to.directory);
  move_directory(second, *to.directory, *from.directory);
  first.set_time(TimeKind::kChange, rename.at);
  second.set_time(TimeKind::kChange, rename.at);
  from.directory->set_modified(rename.at);
  to.directory->set_modified(rename.at);
  return Outcome{.attributes = attributes_of(first), .destroyed = std::nullopt};
}

}  // namespace rram
