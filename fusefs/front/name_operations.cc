#include "fusefs/front/name_operations.h"

#include <linux/fs.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "base/gate.h"
#include "fusefs/file_io.h"
#include "fusefs/front/convert.h"
#include "fusefs/front/fuse_request.h"
#include "fusefs/namespace/acl.h"

namespace rram {

namespace {

void answer_entry(FuseRequest request, const Result<FileStat>& file) {
  if (!file) return std::move(request).reply_error(file.error());
  std::move(request).reply_entry(to_entry(*file));
}

void answer_change(FuseRequest request, const Result<FileStat>& file) {
  if (!file) return std::move(request).reply_error(file.error());
  std::move(request).reply_ok();
}

void on_lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  FuseRequest request(req);
  const Result<FileStat> file = operations_of(req).volume().lookup(parent, name);
  if (!file && file.error().code == ErrorCode::kNotFound) {
    // "Nothing has this name" is remembered by the kernel too: an entry without an inode.
    fuse_entry_param nothing{};
    nothing.entry_timeout = kForeverSeconds;
    return std::move(request).reply_entry(nothing);
  }
  answer_entry(std::move(request), file);
}

void forget_all(fuse_req_t req, std::span<const fuse_forget_data> forgets) {
  FuseRequest request(req);
  const FileIo io = operations_of(req).io(request.slot().worker());
  bool has_more = false;
  for (const fuse_forget_data& forget : forgets) {
    has_more |= io.volume.forget(forget.ino, forget.nlookup);
  }
  std::move(request).reply_nothing();
  if (has_more) spawn(io.worker.running(), drop_deleted(io));
}

void on_forget(fuse_req_t req, fuse_ino_t ino, std::uint64_t count) {
  const fuse_forget_data forget{.ino = ino, .nlookup = count};
  forget_all(req, {&forget, 1});
}

void on_forget_multi(fuse_req_t req, std::size_t count, fuse_forget_data* forgets) {
  forget_all(req, {forgets, count});
}

void on_getattr(fuse_req_t req, fuse_ino_t ino, fuse_file_info* /*file*/) {
  FuseRequest request(req);
  const Result<FileStat> file = operations_of(req).volume().stat(ino);
  if (!file) return std::move(request).reply_error(file.error());
  std::move(request).reply_attributes(to_stat(*file), attributes_timeout_seconds(file->attributes));
}

void on_readlink(fuse_req_t req, fuse_ino_t ino) {
  FuseRequest request(req);
  const Result<std::string> target = request.volume().read_symlink(ino, request.access_time());
  if (!target) return std::move(request).reply_error(target.error());
  std::move(request).reply_symlink(target->c_str());
}

void create_node(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t device,
                 const char* symlink_target) {
  FuseRequest request(req);
  const fuse_ctx& context = request.context();
  const Create create{.parent = parent,
                      .name = name,
                      .mode = mode,
                      .uid = context.uid,
                      .gid = context.gid,
                      .umask = context.umask,
                      .rdev = static_cast<std::uint32_t>(device),
                      .symlink_target = symlink_target,
                      .at = wall_clock_now()};
  answer_entry(std::move(request), operations_of(req).volume().create(create));
}

void on_mknod(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t device) {
  create_node(req, parent, name, mode, device, "");
}

void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  create_node(req, parent, name, S_IFDIR | mode, 0, "");
}

void on_symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) {
  create_node(req, parent, name, S_IFLNK | 0777, 0, target);
}

void on_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char* new_name) {
  FuseRequest request(req);
  const Link link{ino, new_parent, new_name, wall_clock_now()};
  answer_entry(std::move(request), operations_of(req).volume().link(link));
}

void on_unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  FuseRequest request(req);
  answer_change(std::move(request),
                operations_of(req).volume().change(Unlink{parent, name, wall_clock_now()}));
}

void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char* name) {
  FuseRequest request(req);
  answer_change(std::move(request), operations_of(req).volume().change(
                                        RemoveDirectory{parent, name, wall_clock_now()}));
}

void on_rename(fuse_req_t req, fuse_ino_t old_parent, const char* old_name, fuse_ino_t new_parent,
               const char* new_name, unsigned flags) {
  FuseRequest request(req);
  // The kernel refuses other flags, and those that exclude each other.
  Rename rename{.old_parent = old_parent,
                .old_name = old_name,
                .new_parent = new_parent,
                .new_name = new_name,
                .at = wall_clock_now()};
  if ((flags & RENAME_NOREPLACE) != 0) rename.mode = RenameMode::kNoReplace;
  if ((flags & RENAME_EXCHANGE) != 0) rename.mode = RenameMode::kExchange;
  if ((flags & RENAME_WHITEOUT) != 0) {
    rename.whiteout = Whiteout{.uid = request.context().uid, .gid = request.context().gid};
  }
  answer_change(std::move(request), operations_of(req).volume().change(rename));
}

// --- Directories ---------------------------------------------------------------------------------

// Fills a reply with entries until one does not fit.
class EntryWriter {
 public:
  EntryWriter(fuse_req_t request, std::span<std::byte> room, bool with_attributes)
      : request_(request),
        room_(reinterpret_cast<char*>(room.data()), room.size()),
        with_attributes_(with_attributes) {}

  bool add(const DirectoryItem& item, const FileStat& file) {
    const std::string name(item.name);
    const auto cookie = static_cast<off_t>(item.cookie);
    const std::span<char> rest = room_.subspan(used_bytes_);
    fuse_entry_param entry = to_entry(file);
    if (!Volume::tells_of_inode(item)) entry.ino = 0;  // a name and no more
    const std::size_t needed_bytes =
        with_attributes_ ? fuse_add_direntry_plus(request_, rest.data(), rest.size(), name.c_str(),
                                                  &entry, cookie)
                         : fuse_add_direntry(request_, rest.data(), rest.size(), name.c_str(),
                                             &entry.attr, cookie);
    if (needed_bytes > rest.size()) return false;
    used_bytes_ += needed_bytes;
    return true;
  }

  [[nodiscard]] std::span<const std::byte> written() const {
    return std::as_bytes(room_.first(used_bytes_));
  }

 private:
  fuse_req_t request_;
  std::span<char> room_;
  bool with_attributes_;
  std::size_t used_bytes_ = 0;
};

void read_directory(fuse_req_t req, fuse_ino_t ino, std::size_t size_bytes, off_t after_cookie,
                    bool with_attributes) {
  FuseRequest request(req);
  const std::span<std::byte> room = request.slot().reply_payload();
  EntryWriter writer(req, room.first(std::min(size_bytes, room.size())), with_attributes);
  const Status status = operations_of(req).volume().read_directory(
      ino, static_cast<std::uint64_t>(after_cookie), with_attributes, request.access_time(),
      [&](const DirectoryItem& item, const FileStat& file) { return writer.add(item, file); });
  if (!status) return std::move(request).reply_error(status.error());
  std::move(request).reply_bytes(writer.written());
}

void on_readdir(fuse_req_t req, fuse_ino_t ino, std::size_t size_bytes, off_t offset,
                fuse_file_info* /*file*/) {
  read_directory(req, ino, size_bytes, offset, false);
}

void on_readdirplus(fuse_req_t req, fuse_ino_t ino, std::size_t size_bytes, off_t offset,
                    fuse_file_info* /*file*/) {
  read_directory(req, ino, size_bytes, offset, true);
}

// --- Extended attributes -------------------------------------------------------------------------

void on_setxattr(fuse_req_t req, fuse_ino_t ino, const char* name, const char* value,
                 std::size_t size_bytes, int flags) {
  FuseRequest request(req);
  XattrMode mode = XattrMode::kCreateOrReplace;
  if (flags == XATTR_CREATE) mode = XattrMode::kCreate;
  if (flags == XATTR_REPLACE) mode = XattrMode::kReplace;
  SetXattr set{.ino = ino,
               .name = name,
               .value = std::string(value, size_bytes),
               .mode = mode,
               .at = wall_clock_now()};
  if (set.name == kAccessAclName) {
    const Result<Attributes> file = operations_of(req).volume().attributes(ino);
    set.clears_set_gid = file && !request.caller_may_set_gid(file->gid);
  }
  answer_change(std::move(request), operations_of(req).volume().change(set));
}

// size 0 asks for the size; a smaller room than needed is ERANGE.
void answer_xattr(FuseRequest request, const Result<std::string>& value, std::size_t size_bytes) {
  if (!value) return std::move(request).reply_error(value.error());
  if (size_bytes == 0) return std::move(request).reply_xattr_size(value->size());
  if (value->size() > size_bytes) return std::move(request).reply_errno(ERANGE);
  std::move(request).reply_bytes(std::as_bytes(std::span(*value)));
}

void on_getxattr(fuse_req_t req, fuse_ino_t ino, const char* name, std::size_t size_bytes) {
  FuseRequest request(req);
  answer_xattr(std::move(request), operations_of(req).volume().xattr(ino, name), size_bytes);
}

void on_listxattr(fuse_req_t req, fuse_ino_t ino, std::size_t size_bytes) {
  FuseRequest request(req);
  // As every file system: what is trusted is for those who may touch it.
  const bool with_trusted = request.context().uid == 0;
  answer_xattr(std::move(request), operations_of(req).volume().xattr_names(ino, with_trusted),
               size_bytes);
}

void on_removexattr(fuse_req_t req, fuse_ino_t ino, const char* name) {
  FuseRequest request(req);
  answer_change(std::move(request),
                operations_of(req).volume().change(RemoveXattr{ino, name, wall_clock_now()}));
}

}  // namespace

void add_name_operations(fuse_lowlevel_ops& table) {
  table.lookup = on_lookup;
  table.forget = on_forget;
  table.forget_multi = on_forget_multi;
  table.getattr = on_getattr;
  table.readlink = on_readlink;
  table.mknod = on_mknod;
  table.mkdir = on_mkdir;
  table.symlink = on_symlink;
  table.link = on_link;
  table.unlink = on_unlink;
  table.rmdir = on_rmdir;
  table.rename = on_rename;
  table.readdir = on_readdir;
  table.readdirplus = on_readdirplus;
  table.setxattr = on_setxattr;
  table.getxattr = on_getxattr;
  table.listxattr = on_listxattr;
  table.removexattr = on_removexattr;
}

}  // namespace rram
