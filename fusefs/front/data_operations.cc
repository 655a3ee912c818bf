#include "fusefs/front/data_operations.h"

#include <fcntl.h>
#include <linux/falloc.h>

#include <algorithm>
#include <cerrno>

#include "base/gate.h"
#include "fusefs/file_io.h"
#include "fusefs/front/convert.h"
#include "fusefs/front/fuse_request.h"
#include "fusefs/front/session.h"

namespace rram {

namespace {

FileIo io_of(const FuseRequest& request, fuse_req_t req) {
  return operations_of(req).io(request.slot().worker());
}

// Starts the work on the worker of the request; it answers when it is done.
void start(fuse_req_t req, Task<> (*work)(FuseRequest, FileIo)) {
  FuseRequest request(req);
  const FileIo io = io_of(request, req);
  spawn(io.worker.running(), work(std::move(request), io));
}

// Which set-id bits of a file go when this caller changes it (Linux: setattr_should_drop_suidgid).
ClearSetId set_id_cleared_by(const FuseRequest& request, const Attributes& file) {
  constexpr std::uint32_t kBoth = S_ISUID | S_ISGID;
  if (S_ISDIR(file.mode) || (file.mode & kBoth) == 0) return ClearSetId::kNone;
  const bool is_kept_by_group = (file.mode & S_ISGID) == 0 || request.caller_may_set_gid(file.gid);
  return is_kept_by_group ? ClearSetId::kExecutable : ClearSetId::kAll;
}

// A file that runs as somebody else is written by an ordinary user: it no longer may.
void drop_set_id(const FuseRequest& request, const FileIo& io, Ino ino, Timestamp now) {
  const Result<Attributes> file = io.volume.attributes(ino);
  if (!file) return;
  const ClearSetId which = set_id_cleared_by(request, *file);
  if (which == ClearSetId::kNone) return;
  if (!io.volume.change(SetAttributes{.ino = ino, .clear_set_id = which, .at = now})) return;
  // The kernel has the old mode in its cache and would still honour it in exec(2).
  request.session().drop_cached_attributes(ino);
}

// --- Reading and writing -------------------------------------------------------------------------

Task<> read_and_answer(FuseRequest request, FileIo io, Ino ino, std::uint64_t offset,
                       std::size_t size_bytes) {
  const std::span<std::byte> room = request.slot().reply_payload();
  const std::span<std::byte> buffer = room.first(std::min(size_bytes, room.size()));
  const std::optional<Timestamp> accessed_at = request.access_time();
  const Result<std::size_t> read_bytes = co_await read_file(io, ino, offset, buffer, accessed_at);
  if (!read_bytes) {
    std::move(request).reply_error(read_bytes.error());
  } else {
    std::move(request).reply_bytes(buffer.first(*read_bytes));
  }
}

void on_read(fuse_req_t req, fuse_ino_t ino, std::size_t size_bytes, off_t offset,
             fuse_file_info* /*file*/) {
  FuseRequest request(req);
  const FileIo io = io_of(request, req);
  spawn(io.worker.running(), read_and_answer(std::move(request), io, ino,
                                             static_cast<std::uint64_t>(offset), size_bytes));
}

Task<> write_and_answer(FuseRequest request, FileIo io, Ino ino, std::uint64_t offset,
                        std::span<std::byte> data, bool may_be_short) {
  const Timestamp now = wall_clock_now();
  if (request.slot().clears_set_id()) drop_set_id(request, io, ino, now);
  const Result<std::size_t> written_bytes =
      co_await write_file(io, ino, offset, data, may_be_short, now);
  if (!written_bytes) {
    std::move(request).reply_error(written_bytes.error());
  } else {
    std::move(request).reply_written(*written_bytes);
  }
}

void on_write(fuse_req_t req, fuse_ino_t ino, const char* data, std::size_t size_bytes,
              off_t offset, fuse_file_info* file) {
  FuseRequest request(req);
  const FileIo io = io_of(request, req);
  // The payload lies in the slot's own buffer, which belongs to the request until its answer.
  auto* bytes = const_cast<std::byte*>(reinterpret_cast<const std::byte*>(data));
  // The kernel cannot tell a page's process of a short write: cached pages are written whole.
  const bool may_be_short = file->writepage == 0;
  spawn(io.worker.running(),
        write_and_answer(std::move(request), io, ino, static_cast<std::uint64_t>(offset),
                         {bytes, size_bytes}, may_be_short));
}

// --- Attributes ----------------------------------------------------------------------------------

SetAttributes to_change(Ino ino, const struct stat& wanted, int to_set, Timestamp now) {
  SetAttributes change{.ino = ino, .at = now};
  if ((to_set & FUSE_SET_ATTR_MODE) != 0) change.mode = wanted.st_mode;
  if ((to_set & FUSE_SET_ATTR_UID) != 0) change.uid = wanted.st_uid;
  if ((to_set & FUSE_SET_ATTR_GID) != 0) change.gid = wanted.st_gid;
  if ((to_set & FUSE_SET_ATTR_SIZE) != 0) {
    change.size_bytes = static_cast<std::uint64_t>(wanted.st_size);
  }
  if ((to_set & FUSE_SET_ATTR_ATIME) != 0) change.atime = to_timestamp(wanted.st_atim);
  if ((to_set & FUSE_SET_ATTR_ATIME_NOW) != 0) change.atime = now;
  if ((to_set & FUSE_SET_ATTR_MTIME) != 0) change.mtime = to_timestamp(wanted.st_mtim);
  if ((to_set & FUSE_SET_ATTR_MTIME_NOW) != 0) change.mtime = now;
  if ((to_set & FUSE_SET_ATTR_CTIME) != 0) change.ctime = to_timestamp(wanted.st_ctim);
  return change;
}

void answer_attributes(FuseRequest request, const Result<FileStat>& file) {
  if (!file) return std::move(request).reply_error(file.error());
  std::move(request).reply_attributes(to_stat(*file), attributes_timeout_seconds(file->attributes));
}

Task<> truncate_and_answer(FuseRequest request, FileIo io, SetAttributes change) {
  const Result<FileStat> file = co_await truncate_file(io, std::move(change));
  answer_attributes(std::move(request), file);
}

void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat* wanted, int to_set,
                fuse_file_info* /*file*/) {
  FuseRequest request(req);
  const FileIo io = io_of(request, req);
  SetAttributes change = to_change(ino, *wanted, to_set, wall_clock_now());
  if (request.slot().clears_set_id()) {
    const Result<Attributes> file = io.volume.attributes(ino);
    if (file) change.clear_set_id = set_id_cleared_by(request, *file);
  }
  if (change.size_bytes) {
    spawn(io.worker.running(), truncate_and_answer(std::move(request), io, std::move(change)));
    return;
  }
  answer_attributes(std::move(request), io.volume.change(change));
}

// --- Opening -------------------------------------------------------------------------------------

fuse_file_info open_reply(const Operations& operations, const fuse_file_info& asked) {
  fuse_file_info file = asked;
  file.direct_io = operations.options().direct_io ? 1 : 0;
  file.keep_cache = operations.options().direct_io ? 0 : 1;
  return file;
}

Result<FileStat> create_file(const FuseRequest& request, fuse_ino_t parent, const char* name,
                             mode_t mode) {
  const fuse_ctx& context = request.context();
  return request.volume().create(Create{.parent = parent,
                                        .name = name,
                                        .mode = S_IFREG | (mode & kModePermissionBits),
                                        .uid = context.uid,
                                        .gid = context.gid,
                                        .umask = context.umask,
                                        .at = wall_clock_now()});
}

// O_TMPFILE; with O_EXCL it shall never get a name.
Result<FileStat> create_unnamed(const FuseRequest& request, fuse_ino_t parent, mode_t mode,
                                int flags) {
  const fuse_ctx& context = request.context();
  return request.volume().create(CreateUnnamed{.parent = parent,
                                               .mode = mode & kModePermissionBits,
                                               .uid = context.uid,
                                               .gid = context.gid,
                                               .umask = context.umask,
                                               .may_be_linked = (flags & O_EXCL) == 0,
                                               .at = wall_clock_now()});
}

void on_create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode,
               fuse_file_info* asked) {
  FuseRequest request(req);
  Operations& operations = operations_of(req);
  const Result<FileStat> file = request.slot().is_unnamed()
                                    ? create_unnamed(request, parent, mode, asked->flags)
                                    : create_file(request, parent, name, mode);
  if (!file) return std::move(request).reply_error(file.error());
  std::move(request).reply_create(to_entry(*file), open_reply(operations, *asked));
}

// Only with direct_io: without it, the kernel opens files by itself (the table has no callback,
// which libfuse answers with ENOSYS, which the kernel remembers). What keeps an unlinked open file
// alive is the kernel's lookup, which it gives up after the last close.
void on_open(fuse_req_t req, fuse_ino_t /*ino*/, fuse_file_info* asked) {
  FuseRequest request(req);
  std::move(request).reply_open(open_reply(operations_of(req), *asked));
}

// Data is with its provider when a write is answered: there is nothing more to be made safe. The
// kernel has sent what it cached before it asks.
void on_fsync(fuse_req_t req, fuse_ino_t /*ino*/, int /*data_only*/, fuse_file_info* /*file*/) {
  FuseRequest(req).reply_ok();
}

// --- Space ---------------------------------------------------------------------------------------

Task<> statfs_and_answer(FuseRequest request, FileIo io) {
  // What was deleted before the question counts as free in the answer.
  co_await settle_space(io);
  std::move(request).reply_statfs(to_statvfs(io.volume.figures()));
}

void on_statfs(fuse_req_t req, fuse_ino_t /*ino*/) { start(req, statfs_and_answer); }

Task<> fallocate_and_answer(FuseRequest request, FileIo io, Ino ino, int mode, std::uint64_t offset,
                            std::uint64_t length) {
  const Timestamp now = wall_clock_now();
  const bool keeps_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
  // This request carries no flag for it; root is who may keep the bits.
  if (request.context().uid != 0) drop_set_id(request, io, ino, now);
  Status status;
  if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0) {
    status = co_await punch_range(io, ino, offset, length, now);
  }
  if (status && (mode & FALLOC_FL_PUNCH_HOLE) == 0) {
    io.deadline_ns = io.worker.request_deadline_ns();  // punching may have used much of it
    status = co_await allocate_range(io, ino, offset, length, keeps_size, now);
  }
  std::move(request).reply_status(status);
}

void on_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                  fuse_file_info* /*file*/) {
  FuseRequest request(req);
  constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  constexpr int kZero = FALLOC_FL_ZERO_RANGE;
  if (mode != 0 && mode != FALLOC_FL_KEEP_SIZE && mode != kPunch && mode != kZero &&
      mode != (kZero | FALLOC_FL_KEEP_SIZE)) {
    return std::move(request).reply_errno(EOPNOTSUPP);
  }
  const FileIo io = io_of(request, req);
  spawn(io.worker.running(),
        fallocate_and_answer(std::move(request), io, ino, mode, static_cast<std::uint64_t>(offset),
                             static_cast<std::uint64_t>(length)));
}

// --- Holes and copies ----------------------------------------------------------------------------

Task<> seek_and_answer(FuseRequest request, FileIo io, Ino ino, std::uint64_t offset, int whence) {
  Result<std::uint64_t> found = fail(ErrorCode::kInvalidArgument);
  if (whence == SEEK_DATA) {
    found = co_await seek_data(io, ino, offset);
  } else {
    found = co_await seek_hole(io, ino, offset);
  }
  if (!found) co_return std::move(request).reply_error(found.error());
  std::move(request).reply_offset(static_cast<off_t>(*found));
}

void on_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, fuse_file_info* /*file*/) {
  FuseRequest request(req);
  // The kernel does the others itself.
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return std::move(request).reply_errno(EINVAL);
  const FileIo io = io_of(request, req);
  spawn(io.worker.running(),
        seek_and_answer(std::move(request), io, ino, static_cast<std::uint64_t>(offset), whence));
}

std::optional<Timestamp> access_time_of(const FileIo& io, Ino ino) {
  const Result<Attributes> file = io.volume.attributes(ino);
  return file ? std::optional(file->atime) : std::nullopt;
}

Task<> copy_and_answer(FuseRequest request, FileIo io, CopyRange range) {
  const Timestamp now = wall_clock_now();
  // This request carries no flag for it; root is who may keep the bits.
  if (request.context().uid != 0) drop_set_id(request, io, range.to, now);
  const std::optional<Timestamp> accessed_before = access_time_of(io, range.from);
  const Result<std::size_t> copied =
      co_await copy_range(io, range, request.slot().reply_payload(), request.access_time(), now);
  // After a read the kernel asks for the access time by itself; after this it does not.
  if (access_time_of(io, range.from) != accessed_before) {
    request.session().drop_cached_attributes(range.from);
  }
  if (!copied) co_return std::move(request).reply_error(copied.error());
  std::move(request).reply_written(*copied);
}

void on_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_offset,
                        fuse_file_info* /*from_file*/, fuse_ino_t to, off_t to_offset,
                        fuse_file_info* /*to_file*/, std::size_t length, int /*flags*/) {
  FuseRequest request(req);
  const FileIo io = io_of(request, req);
  // One request ends soon, whatever it is asked for; the caller goes on where it ended.
  constexpr std::uint64_t kMaxCopyBytes = std::uint64_t{16} << 20;
  const CopyRange range{.from = from,
                        .from_offset = static_cast<std::uint64_t>(from_offset),
                        .to = to,
                        .to_offset = static_cast<std::uint64_t>(to_offset),
                        .length = std::min<std::uint64_t>(length, kMaxCopyBytes)};
  spawn(io.worker.running(), copy_and_answer(std::move(request), io, range));
}

}  // namespace

void add_data_operations(fuse_lowlevel_ops& table, bool direct_io) {
  table.read = on_read;
  table.write = on_write;
  table.setattr = on_setattr;
  table.create = on_create;
  if (direct_io) table.open = on_open;
  table.fsync = on_fsync;
  table.fsyncdir = on_fsync;
  table.statfs = on_statfs;
  table.fallocate = on_fallocate;
  table.lseek = on_lseek;
  table.copy_file_range = on_copy_file_range;
}

}  // namespace rram
