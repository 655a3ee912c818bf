#include "tests/unit/namespace/namespace_model.h"

#include <algorithm>

namespace rram {

namespace {

bool is_bad(const Timestamp& time) { return time.nanoseconds > 999'999'999; }
bool is_bad(const std::optional<Timestamp>& time) { return time && is_bad(*time); }

}  // namespace

NamespaceModel::NamespaceModel(const NamespaceLimits& limits, std::uint64_t generation)
    : limits_(limits), generation_(generation) {
  nodes_[1].stored = {.ino = 1, .generation = generation, .size_bytes = 4096, .mode = 040755};
}

// --- The naive facts -----------------------------------------------------------------------------

bool NamespaceModel::is_directory(Ino ino) const {
  return (nodes_.at(ino).stored.mode & 0170000) == 0040000;
}

std::uint32_t NamespaceModel::count_links(Ino ino) const {
  std::uint32_t names = ino == 1 ? 1 : 0;
  for (const auto& [number, node] : nodes_) {
    for (const Entry& entry : node.entries) {
      names += entry.ino == ino ? 1 : 0;
    }
  }
  if (!is_directory(ino) || names == 0) {
    return names;
  }
  std::uint32_t links = 2;
  for (const Entry& entry : nodes_.at(ino).entries) {
    links += is_directory(entry.ino) ? 1 : 0;
  }
  return links;
}

Attributes NamespaceModel::attributes(Ino ino) const {
  Attributes result = nodes_.at(ino).stored;
  result.nlink = count_links(ino);
  return result;
}

Ino NamespaceModel::parent_of(Ino directory) const {
  for (const auto& [number, node] : nodes_) {
    for (const Entry& entry : node.entries) {
      if (entry.ino == directory) {
        return number;
      }
    }
  }
  return 1;
}

bool NamespaceModel::is_dead(Ino directory) const { return count_links(directory) == 0; }

// True if `searched` is `directory` or anywhere below it.
bool NamespaceModel::contains(Ino directory, Ino searched) const {
  if (directory == searched) {
    return true;
  }
  const auto& entries = nodes_.at(directory).entries;
  return std::any_of(entries.begin(), entries.end(),
                     [&](const Entry& entry) { return contains(entry.ino, searched); });
}

NamespaceModel::Entry* NamespaceModel::find(Ino directory, const std::string& name) {
  for (Entry& entry : nodes_.at(directory).entries) {
    if (entry.name == name) {
      return &entry;
    }
  }
  return nullptr;
}

void NamespaceModel::erase(Ino directory, const std::string& name) {
  std::erase_if(nodes_.at(directory).entries,
                [&](const Entry& entry) { return entry.name == name; });
}

void NamespaceModel::append(Ino directory, const std::string& name, Ino ino) {
  Node& node = nodes_.at(directory);
  node.entries.push_back({.cookie = node.next_cookie++, .name = name, .ino = ino});
}

void NamespaceModel::changed(Ino ino, const Timestamp& at) {
  nodes_.at(ino).stored.mtime = at;
  nodes_.at(ino).stored.ctime = at;
}

std::set<Ino> NamespaceModel::collect() {
  std::set<Ino> gone;
  for (const auto& [ino, node] : nodes_) {
    if (node.lookups == 0 && node.opens == 0 && count_links(ino) == 0) {
      gone.insert(ino);
    }
  }
  for (const Ino ino : gone) {
    nodes_.erase(ino);
  }
  return gone;
}

// --- Why not -------------------------------------------------------------------------------------

NamespaceModel::Error NamespaceModel::bad_directory(Ino ino) const {
  if (!nodes_.contains(ino)) {
    return ErrorCode::kStale;
  }
  if (!is_directory(ino)) {
    return ErrorCode::kNotDirectory;
  }
  if (is_dead(ino)) {
    return ErrorCode::kNotFound;
  }
  return std::nullopt;
}

NamespaceModel::Error NamespaceModel::bad_name(const std::string& name) const {
  if (name.empty() || name == "." || name == "..") {
    return ErrorCode::kInvalidArgument;
  }
  for (const char c : name) {
    if (c == '/' || c == '\0') {
      return ErrorCode::kInvalidArgument;
    }
  }
  return name.size() > limits_.max_name_bytes ? Error(ErrorCode::kNameTooLong) : std::nullopt;
}

NamespaceModel::Error NamespaceModel::bad_place(Ino directory, const std::string& name) const {
  const Error error = bad_directory(directory);
  return error ? error : bad_name(name);
}

NamespaceModel::Error NamespaceModel::bad_xattr_name(const std::string& name) const {
  if (name.size() > limits_.max_xattr_name_bytes) {
    return ErrorCode::kRange;
  }
  const auto dot = name.find('.');
  const std::string prefix = dot == std::string::npos ? "" : name.substr(0, dot);
  if (prefix != "user" && prefix != "trusted" && prefix != "security") {
    return ErrorCode::kNotSupported;
  }
  if (dot + 1 == name.size() || name.find('\0') != std::string::npos) {
    return ErrorCode::kInvalidArgument;
  }
  return std::nullopt;
}

NamespaceModel::Error NamespaceModel::bad_size(Ino ino, std::uint64_t size_bytes) const {
  const std::uint32_t type = nodes_.at(ino).stored.mode & 0170000;
  if (type == 0040000) {
    return ErrorCode::kIsDirectory;
  }
  if (type != 0100000) {
    return ErrorCode::kInvalidArgument;
  }
  return size_bytes > limits_.max_file_bytes ? Error(ErrorCode::kFileTooBig) : std::nullopt;
}

bool NamespaceModel::would_have_too_many_links(Ino directory) const {
  return count_links(directory) + 1 > limits_.max_links;
}

// --- Changes -------------------------------------------------------------------------------------

NamespaceModel::Answer NamespaceModel::apply(const Record& record) {
  Answer answer;
  Ino subject = 0;
  answer.error = std::visit(
      [&](const auto& kind) -> Error {
        return is_bad(kind.at) ? ErrorCode::kInvalidArgument : change(kind, subject);
      },
      record);
  if (!answer.error) {
    answer.attributes = attributes(subject);
    answer.destroyed = collect();
  }
  return answer;
}

NamespaceModel::Error NamespaceModel::change(const Create& create, Ino& subject) {
  if (const Error error = bad_place(create.parent, create.name)) {
    return error;
  }
  if (find(create.parent, create.name) != nullptr) {
    return ErrorCode::kExists;
  }
  const std::set<std::uint32_t> types{0100000, 0040000, 0120000, 0010000,
                                      0140000, 0020000, 0060000};
  const std::uint32_t type = create.mode & 0170000;
  const bool is_link = type == 0120000;
  if (!types.contains(type) || (!is_link && !create.symlink_target.empty()) ||
      std::count(create.symlink_target.begin(), create.symlink_target.end(), '\0') > 0) {
    return ErrorCode::kInvalidArgument;
  }
  if (is_link && create.symlink_target.empty()) {
    return ErrorCode::kNotFound;
  }
  if (create.symlink_target.size() > limits_.max_symlink_bytes) {
    return ErrorCode::kNameTooLong;
  }
  if (type == 0040000 && would_have_too_many_links(create.parent)) {
    return ErrorCode::kTooManyLinks;
  }
  if (nodes_.size() == limits_.max_inodes) {
    return ErrorCode::kNoSpace;
  }
  subject = ++last_ino_;
  const Attributes parent = nodes_.at(create.parent).stored;
  Node& node = nodes_[subject];
  node.target = create.symlink_target;
  node.stored = {.ino = subject,
                 .generation = generation_,
                 .atime = create.at,
                 .mtime = create.at,
                 .ctime = create.at,
                 .mode = create.mode & 0177777 & ~(create.umask & 0777),
                 .uid = create.uid,
                 .gid = create.gid};
  if ((parent.mode & 02000) != 0) {
    node.stored.gid = parent.gid;
  }
  if (type == 0040000) {
    node.stored.size_bytes = 4096;
    node.stored.mode |= parent.mode & 02000;
  }
  if (is_link) {
    node.stored.mode = 0120777;
    node.stored.size_bytes = node.target.size();
  }
  if (type == 0020000 || type == 0060000) {
    node.stored.rdev = create.rdev;
  }
  append(create.parent, create.name, subject);
  changed(create.parent, create.at);
  return std::nullopt;
}

NamespaceModel::Error NamespaceModel::change(const CreateUnnamed& create, Ino& subject) {
  if (const Error error = bad_directory(create.parent)) {
    return error;
  }
  if (nodes_.size() == limits_.max_inodes) {
    return ErrorCode::kNoSpace;
  }
  subject = ++last_ino_;
  const Attributes parent = nodes_.at(create.parent).stored;
  Node& node = nodes_[subject];
  node.stored = {.ino = subject,
                 .generation = generation_,
                 .atime = create.at,
                 .mtime = create.at,
                 .ctime = create.at,
                 .mode = 0100000 + (create.mode & 07777 & ~(create.umask & 0777)),
                 .uid = create.uid,
                 .gid = (parent.mode & 02000) != 0 ? parent.gid : create.gid};
  node.lookups = 1;
  node.awaits_name = create.may_be_linked;
  return std::nullopt;
}

NamespaceModel::Error NamespaceModel::change(const Link& link, Ino& subject) {
  if (const Error error = bad_place(link.new_parent, link.new_name)) {
    return error;
  }
  if (!nodes_.contains(link.ino)) {
    return ErrorCode::kStale;
  }
  if (find(link.new_parent, link.new_name) != nullptr) {
    return ErrorCode::kExists;
  }
  if (is_directory(link.ino)) {
    return ErrorCode::kNotPermitted;
  }
  const std::uint32_t links = count_links(link.ino);
  if (links == 0 && !nodes_.at(link.ino).awaits_name) {
    return ErrorCode::kNotFound;
  }
  if (links == limits_.max_links) {
    return ErrorCode::kTooManyLinks;
  }
  append(link.new_parent, link.new_name, link.ino);
  changed(link.new_parent, link.at);
  nodes_.at(link.ino).stored.ctime = link.at;
  if (links > 0) nodes_.at(link.ino).stored.was_linked = true;
  nodes_.at(link.ino).awaits_name = false;
  subject = link.ino;
  return std::nullopt;
}

NamespaceModel::Error NamespaceModel::change(const Unlink& unlink, Ino& subject) {
  if (const Error error = bad_place(unlink.parent, unlink.name)) {
    return error;
  }
  const Entry* entry = find(unlink.parent, unlink.name);
  if (entry == nullptr) {
    return ErrorCode::kNotFound;
  }
  if (is_directory(entry->ino)) {
    return ErrorCode::kIsDirectory;
  }
  subject = entry->ino;
  nodes_.at(subject).stored.ctime = unlink.at;
  erase(unlink.parent, unlink.name);
  changed(unlink.parent, unlink.at);
  return std::nullopt;
}

NamespaceModel::Error NamespaceModel::change(const RemoveDirectory& remove, Ino& subject) {
  if (const Error error = bad_place(remove.parent, remove.name)) {
    return error;
  }
  const Entry* entry = find(remove.parent, remove.name);
  if (entry == nullptr) {
    return ErrorCode::kNotFound;
  }
  if (!is_directory(entry->ino)) {
    return ErrorCode::kNotDirectory;
  }
  if (!nodes_.at(entry->ino).entries.empty()) {
    return ErrorCode::kNotEmpty;
  }
  subject = entry->ino;
  nodes_.at(subject).stored.ctime = remove.at;
  erase(remove.parent, remove.name);
  changed(remove.parent, remove.at);
  return std::nullopt;
}

NamespaceModel::Error NamespaceModel::change(const Rename& rename, Ino& subject) {
  const bool exchange = rename.mode == RenameMode::kExchange;
  if (const Error error = bad_place(rename.old_parent, rename.old_name)) {
    return error;
  }
  if (const Error error = bad_place(rename.new_parent, rename.new_name)) {
    return error;
  }
  Entry* from = find(rename.old_parent, rename.old_name);
  Entry* to = find(rename.new_parent, rename.new_name);
  if (from == nullptr || (exchange && to == nullptr)) {
    return ErrorCode::kNotFound;
  }
  if (rename.mode == RenameMode::kNoReplace && to != nullptr) {
    return ErrorCode::kExists;
  }
  if (exchange && rename.whiteout) {
    return ErrorCode::kInvalidArgument;
  }
  subject = from->ino;
  const Ino other = to == nullptr ? 0 : to->ino;
  if (subject == other) {
    return std::nullopt;
  }
  if (contains(subject, rename.new_parent) || (exchange && contains(other, rename.old_parent))) {
    return ErrorCode::kInvalidArgument;
  }
  const bool moves_directory = is_directory(subject);
  const bool meets_directory = other != 0 && is_directory(other);
  if (!exchange && other != 0) {
    if (moves_directory && !meets_directory) {
      return ErrorCode::kNotDirectory;
    }
    if (!moves_directory && meets_directory) {
      return ErrorCode::kIsDirectory;
    }
    if (meets_directory && !nodes_.at(other).entries.empty()) {
      return ErrorCode::kNotEmpty;
    }
  }
  if (rename.old_parent != rename.new_parent) {
    const bool old_gains = exchange && meets_directory && !moves_directory;
    const bool new_gains = moves_directory && !meets_directory;
    if ((old_gains && would_have_too_many_links(rename.old_parent)) ||
        (new_gains && would_have_too_many_links(rename.new_parent))) {
      return ErrorCode::kTooManyLinks;
    }
  }
  if (rename.whiteout && nodes_.size() == limits_.max_inodes) {
    return ErrorCode::kNoSpace;
  }
  nodes_.at(subject).stored.ctime = rename.at;
  if (other != 0) {
    nodes_.at(other).stored.ctime = rename.at;
    to->ino = subject;
    if (exchange) {
      from->ino = other;
    }
  } else {
    append(rename.new_parent, rename.new_name, subject);
  }
  if (rename.whiteout) {
    const Attributes parent = nodes_.at(rename.old_parent).stored;
    const Ino whiteout = ++last_ino_;
    nodes_[whiteout].stored = {
        .ino = whiteout,
        .generation = generation_,
        .atime = rename.at,
        .mtime = rename.at,
        .ctime = rename.at,
        .mode = 0020000,
        .uid = rename.whiteout->uid,
        .gid = (parent.mode & 02000) != 0 ? parent.gid : rename.whiteout->gid};
    find(rename.old_parent, rename.old_name)->ino = whiteout;
  } else if (!exchange) {
    erase(rename.old_parent, rename.old_name);
  }
  changed(rename.old_parent, rename.at);
  changed(rename.new_parent, rename.at);
  return std::nullopt;
}

NamespaceModel::Error NamespaceModel::change(const SetAttributes& set, Ino& subject) {
  if (is_bad(set.atime) || is_bad(set.mtime) || is_bad(set.ctime)) {
    return ErrorCode::kInvalidArgument;
  }
  if (!nodes_.contains(set.ino)) {
    return ErrorCode::kStale;
  }
  if (set.size_bytes) {
    if (const Error error = bad_size(set.ino, *set.size_bytes)) {
      return error;
    }
  }
  subject = set.ino;
  Attributes& stored = nodes_.at(subject).stored;
  stored.ctime = set.at;
  if (set.size_bytes) {
    stored.size_bytes = *set.size_bytes;
    stored.mtime = set.at;
  }
  if (set.mode) {
    stored.mode = (stored.mode & 0170000) + (*set.mode & 07777);
  }
  if (set.clear_set_id != ClearSetId::kNone && (stored.mode & 0170000) != 0040000) {
    stored.mode &= ~04000U;
    if ((stored.mode & 010) != 0 || set.clear_set_id == ClearSetId::kAll) {
      stored.mode &= ~02000U;
    }
  }
  if (set.uid) {
    stored.uid = *set.uid;
  }
  if (set.gid) {
    stored.gid = *set.gid;
  }
  if (set.atime) {
    stored.atime = *set.atime;
  }
  if (set.mtime) {
    stored.mtime = *set.mtime;
  }
  if (set.ctime) {
    stored.ctime = *set.ctime;
  }
  return std::nullopt;
}

NamespaceModel::Error NamespaceModel::change(const Extend& extend, Ino& subject) {
  if (!nodes_.contains(extend.ino)) {
    return ErrorCode::kStale;
  }
  if (const Error error = bad_size(extend.ino, extend.size_bytes)) {
    return error;
  }
  subject = extend.ino;
  Attributes& stored = nodes_.at(subject).stored;
  if (extend.size_bytes > stored.size_bytes) {
    stored.size_bytes = extend.size_bytes;
  }
  changed(subject, extend.at);
  return std::nullopt;
}

NamespaceModel::Error NamespaceModel::change(const Touch& touch, Ino& subject) {
  if (!nodes_.contains(touch.ino)) {
    return ErrorCode::kStale;
  }
  subject = touch.ino;
  Attributes& stored = nodes_.at(subject).stored;
  stored.atime = touch.atime ? touch.at : stored.atime;
  stored.mtime = touch.mtime ? touch.at : stored.mtime;
  stored.ctime = touch.ctime ? touch.at : stored.ctime;
  return std::nullopt;
}

NamespaceModel::Error NamespaceModel::change(const SetXattr& set, Ino& subject) {
  if (!nodes_.contains(set.ino)) {
    return ErrorCode::kStale;
  }
  if (const Error error = bad_xattr_name(set.name)) {
    return error;
  }
  auto xattrs = nodes_.at(set.ino).xattrs;
  if (set.mode == XattrMode::kCreate && xattrs.contains(set.name)) {
    return ErrorCode::kExists;
  }
  if (set.mode == XattrMode::kReplace && !xattrs.contains(set.name)) {
    return ErrorCode::kNoAttribute;
  }
  if (set.value.size() > limits_.max_xattr_value_bytes) {
    return ErrorCode::kArgumentTooLarge;
  }
  xattrs[set.name] = set.value;
  std::size_t list_bytes = 0;
  std::size_t total_bytes = 0;
  for (const auto& [name, value] : xattrs) {
    list_bytes += name.size() + 1;
    total_bytes += name.size() + value.size();
  }
  if (list_bytes > limits_.max_xattr_list_bytes || total_bytes > limits_.max_xattr_total_bytes) {
    return ErrorCode::kNoSpace;
  }
  subject = set.ino;
  nodes_.at(subject).xattrs = xattrs;
  nodes_.at(subject).stored.ctime = set.at;
  return std::nullopt;
}

NamespaceModel::Error NamespaceModel::change(const RemoveXattr& remove, Ino& subject) {
  if (!nodes_.contains(remove.ino)) {
    return ErrorCode::kStale;
  }
  if (const Error error = bad_xattr_name(remove.name)) {
    return error;
  }
  if (nodes_.at(remove.ino).xattrs.erase(remove.name) == 0) {
    return ErrorCode::kNoAttribute;
  }
  subject = remove.ino;
  nodes_.at(subject).stored.ctime = remove.at;
  return std::nullopt;
}

// --- References ----------------------------------------------------------------------------------

bool NamespaceModel::add_lookup(Ino ino, std::uint64_t count) {
  if (!nodes_.contains(ino)) {
    return false;
  }
  nodes_.at(ino).lookups += count;
  return true;
}

bool NamespaceModel::open(Ino ino) {
  if (!nodes_.contains(ino)) {
    return false;
  }
  nodes_.at(ino).opens += 1;
  return true;
}

std::set<Ino> NamespaceModel::forget(Ino ino, std::uint64_t count) {
  for (; nodes_.contains(ino) && nodes_.at(ino).lookups > 0 && count > 0; --count) {
    nodes_.at(ino).lookups -= 1;
  }
  return collect();
}

std::set<Ino> NamespaceModel::close(Ino ino) {
  if (nodes_.contains(ino) && nodes_.at(ino).opens > 0) {
    nodes_.at(ino).opens -= 1;
  }
  return collect();
}

std::set<Ino> NamespaceModel::drop_all_references() {
  for (auto& [ino, node] : nodes_) {
    node.lookups = 0;
    node.opens = 0;
  }
  return collect();
}

}  // namespace rram
