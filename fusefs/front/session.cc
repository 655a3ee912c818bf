#include "fusefs/front/session.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/mapping.h"
#include "fusefs/front/fuse_abi.h"
#include "fusefs/front/libfuse.h"
#include "fusefs/front/operations.h"
#include "fusefs/mount_table.h"

namespace rram {

namespace {

struct SessionDestroyer {
  void operator()(fuse_session* session) const { fuse_session_destroy(session); }
};

// What libfuse says goes to our log; while one of these lives on a thread, what it says there
// becomes part of our own sentence instead. libfuse has one handler for the process, so this is its
// state.
class LibfuseWords {
 public:
  LibfuseWords() : previous_(std::exchange(current_, this)) { fuse_set_log_func(&take); }
  ~LibfuseWords() { current_ = previous_; }
  LibfuseWords(const LibfuseWords&) = delete;
  LibfuseWords& operator=(const LibfuseWords&) = delete;

  // ": what it said", or nothing.
  [[nodiscard]] std::string as_reason() const {
    const std::string_view words = without_line_ends(words_);
    return words.empty() ? std::string() : fmt::format(": {}", words);
  }

 private:
  static std::string_view without_line_ends(std::string_view words) {
    while (words.ends_with('\n')) words.remove_suffix(1);
    return words;
  }

  // One sentence may come in several calls.
  static void take(fuse_log_level level, const char* format, va_list arguments) {
    std::array<char, 512> text{};
    std::vsnprintf(text.data(), text.size(), format, arguments);
    if (current_ != nullptr && level <= FUSE_LOG_WARNING) {
      current_->words_ += text.data();
    } else {
      const auto as = level <= FUSE_LOG_WARNING ? spdlog::level::warn : spdlog::level::debug;
      spdlog::log(as, "{}", without_line_ends(text.data()));
    }
  }

  LibfuseWords* previous_;
  std::string words_;
  static thread_local LibfuseWords* current_;
};

thread_local LibfuseWords* LibfuseWords::current_ = nullptr;

// libfuse's argument list owns copies of its strings.
class Arguments {
 public:
  Arguments() = default;
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;
  ~Arguments() { fuse_opt_free_args(&args_); }
  void add(const std::string& text) { fuse_opt_add_arg(&args_, text.c_str()); }
  fuse_args* get() { return &args_; }

 private:
  fuse_args args_ = FUSE_ARGS_INIT(0, nullptr);
};

Status set_nonblocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
    return fail_errno(errno, "cannot make /dev/fuse non-blocking");
  }
  return {};
}

// libfuse takes options apart at commas.
std::string escaped(const std::string& option) {
  std::string out;
  for (const char c : option) {
    if (c == ',' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

// The header of a request's own kind, behind the common one.
template <typename Header>
Header own_header(std::span<const std::byte> request) {
  Header own{};
  const std::size_t own_bytes = request.size() - sizeof(fuse_in_header);
  std::memcpy(&own, request.data() + sizeof(fuse_in_header), std::min(sizeof own, own_bytes));
  return own;
}

// With FUSE_HANDLE_KILLPRIV_V2: which writes and truncations clear set-id bits the kernel says in a
// flag that libfuse 3.14 does not hand on; a change of the owner clears them always.
bool clears_set_id(std::uint32_t opcode, std::span<const std::byte> request) {
  if (opcode == FUSE_WRITE) {
    return (own_header<fuse_write_in>(request).write_flags & FUSE_WRITE_KILL_SUIDGID) != 0;
  }
  if (opcode != FUSE_SETATTR) return false;
  constexpr std::uint32_t kClearing = FATTR_KILL_SUIDGID | FATTR_UID | FATTR_GID;
  return (own_header<fuse_setattr_in>(request).valid & kClearing) != 0;
}

// libfuse 3.14 hands the flags of open(2) on for files, but not for directories.
bool leaves_access_time(std::uint32_t opcode, std::span<const std::byte> request) {
  if (opcode != FUSE_READ && opcode != FUSE_READDIR && opcode != FUSE_READDIRPLUS) return false;
  return (own_header<fuse_read_in>(request).flags & O_NOATIME) != 0;
}

bool has_no_answer(std::uint32_t opcode) {
  return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_INTERRUPT;
}

}  // namespace

// What libfuse's callbacks get as their user data; Operations first finds itself through it.
struct FuseSession::Impl : OperationsContext {
  Impl(Operations& served, const SessionOptions& session_options)
      : OperationsContext{served, nullptr}, options(session_options) {}

  SessionOptions options;
  std::unique_ptr<fuse_session, SessionDestroyer> session;
  std::uint64_t kernel_flags = 0;
  bool is_mounted = false;
  std::optional<std::uint64_t> device_minor;
  bool is_initialized = false;
};

Result<std::unique_ptr<FuseSession>> FuseSession::create(const SessionOptions& options,
                                                         Operations& operations) {
  auto impl = std::make_unique<Impl>(operations, options);
  Arguments arguments;
  arguments.add(options.program);
  for (const std::string& option : options.mount_options) arguments.add("-o" + escaped(option));
  if (options.debug) arguments.add("-d");
  const LibfuseWords words;
  const fuse_lowlevel_ops table = Operations::table(options.direct_io);
  impl->session.reset(fuse_session_new(arguments.get(), &table, sizeof table,
                                       static_cast<OperationsContext*>(impl.get())));
  if (impl->session == nullptr) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("a mount option was refused{}; rramfs -h lists the options",
                            words.as_reason()));
  }
  return std::unique_ptr<FuseSession>(new FuseSession(std::move(impl)));
}

FuseSession::FuseSession(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {
  impl_->OperationsContext::session = this;
}

FuseSession::~FuseSession() { unmount(); }

Status FuseSession::mount(const std::string& mountpoint) {
  const LibfuseWords words;
  if (fuse_session_mount(impl_->session.get(), mountpoint.c_str()) != 0) {
    return fail(ErrorCode::kIo,
                fmt::format("cannot mount at {}{}; is /dev/fuse there, and may this user mount "
                            "(fusermount3 installed)?",
                            mountpoint, words.as_reason()));
  }
  impl_->is_mounted = true;
  if (const std::optional<MountEntry> entry = find_mount(mountpoint)) {
    impl_->device_minor = entry->device_minor;
  }
  fuse_custom_io callbacks{};
  callbacks.writev = &write_callback;
  callbacks.read = &read_callback;
  if (fuse_session_custom_io(impl_->session.get(), &callbacks, fd()) != 0) {
    return fail(ErrorCode::kIo, "libfuse refused to leave its I/O to rramfs");
  }
  return {};
}

int FuseSession::fd() const { return fuse_session_fd(impl_->session.get()); }

Status FuseSession::handshake() {
  Result<Mapping> buffer = Mapping::anonymous(kMaxPayloadBytes + 8192, false);
  if (!buffer) return std::unexpected(buffer.error());
  ssize_t received = 0;
  do {
    received = ::read(fd(), buffer->data(), buffer->size_bytes());
  } while (received < 0 && (errno == EINTR || errno == EAGAIN));
  if (received < 0) return fail_errno(errno, "the kernel did not begin the mount");
  fuse_in_header header{};
  fuse_init_in init{};
  const auto received_bytes = static_cast<std::size_t>(received);
  if (received_bytes < sizeof header + 16) return fail(ErrorCode::kProtocol, "short FUSE INIT");
  std::memcpy(&header, buffer->data(), sizeof header);
  std::memcpy(&init, buffer->data() + sizeof header,
              std::min(sizeof init, received_bytes - sizeof header));
  if (header.opcode != FUSE_INIT) return fail(ErrorCode::kProtocol, "FUSE began without INIT");
  impl_->kernel_flags = init.flags;
  if ((init.flags & fuse_abi::kInitExt) != 0) {
    impl_->kernel_flags |= std::uint64_t{init.flags2} << 32;
  }
  uses_io_uring_ =
      impl_->options.wants_io_uring && (impl_->kernel_flags & fuse_abi::kOverIoUring) != 0;
  fuse_buf request{};
  request.mem = buffer->data();
  request.size = received_bytes;
  fuse_session_process_buf(impl_->session.get(), &request);
  if (!impl_->is_initialized) {
    return fail(ErrorCode::kUnavailable, "the kernel's FUSE is too old for this libfuse");
  }
  return set_nonblocking(fd());
}

// libfuse 3.14 does not know or never sends these flags; the reply is completed on its way out.
void FuseSession::patch_init_reply(std::span<iovec> parts) const {
  auto* out = static_cast<fuse_init_out*>(parts[1].iov_base);
  // Without the second the kernel asks for security.capability before every write.
  std::uint64_t wanted = fuse_abi::kParallelDirops | FUSE_HANDLE_KILLPRIV_V2;
  if (impl_->options.direct_io) wanted |= fuse_abi::kDirectIoAllowMmap;
  if (uses_io_uring_) wanted |= fuse_abi::kOverIoUring;
  wanted &= impl_->kernel_flags;
  if ((wanted >> 32) != 0) wanted |= fuse_abi::kInitExt;
  out->flags |= static_cast<std::uint32_t>(wanted);
  out->flags2 |= static_cast<std::uint32_t>(wanted >> 32);
}

ssize_t FuseSession::write_callback(int fd, iovec* parts, int count, void* user_data) {
  const std::span<iovec> all(parts, static_cast<std::size_t>(count));
  if (RequestSlot* slot = RequestSlot::current()) {
    assert(static_cast<const fuse_out_header*>(parts[0].iov_base)->unique == slot->unique());
    return slot->send_reply(all);
  }
  auto* impl = static_cast<Impl*>(static_cast<OperationsContext*>(user_data));
  const auto* header = static_cast<const fuse_out_header*>(parts[0].iov_base);
  if (!impl->is_initialized && count > 1 && header->unique != 0 && header->error == 0) {
    impl->is_initialized = true;
    impl->OperationsContext::session->patch_init_reply(all);
  }
  return ::writev(fd, parts, count);
}

ssize_t FuseSession::read_callback(int fd, void* buffer, std::size_t size_bytes,
                                   void* /*user_data*/) {
  return ::read(fd, buffer, size_bytes);
}

Result<UniqueFd> FuseSession::clone_fd() const {
  UniqueFd clone(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!clone) return fail_errno(errno, "cannot open /dev/fuse");
  std::uint32_t original = static_cast<std::uint32_t>(fd());
  if (::ioctl(clone.get(), FUSE_DEV_IOC_CLONE, &original) != 0) {
    return fail_errno(errno, "cannot clone /dev/fuse");
  }
  if (Status status = set_nonblocking(clone.get()); !status) {
    return std::unexpected(status.error());
  }
  return clone;
}

bool FuseSession::process(RequestSlot& slot, std::span<std::byte> request) {
  fuse_in_header header{};
  std::memcpy(&header, request.data(), sizeof header);
  // Every request is answered within its deadline, so there is nothing to interrupt. libfuse must
  // not see it: it would answer a late INTERRUPT while it decodes another request, through that
  // one's slot.
  if (header.opcode == FUSE_INTERRUPT) return false;
  slot.set_unique(header.unique);
  slot.set_clears_set_id(clears_set_id(header.opcode, request));
  slot.set_leaves_access_time(leaves_access_time(header.opcode, request));
  slot.set_unnamed(header.opcode == FUSE_TMPFILE);
  if (slot.is_unnamed()) {
    // libfuse 3.14 does not know it; it is a CREATE in all but the name.
    header.opcode = FUSE_CREATE;
    std::memcpy(request.data(), &header, sizeof header);
  }
  fuse_buf buffer{};
  buffer.mem = request.data();
  buffer.size = request.size();
  const RequestSlot::Scope scope(&slot);
  fuse_session_process_buf(impl_->session.get(), &buffer);
  return !has_no_answer(header.opcode);
}

void FuseSession::drop_cached_attributes(std::uint64_t ino) const {
  invalidate(ino, /*offset=*/-1, 0);  // no cached data
}

void FuseSession::write_back_pages(std::uint64_t ino, std::uint64_t offset,
                                   std::uint64_t length) const {
  invalidate(ino, static_cast<std::int64_t>(offset), static_cast<std::int64_t>(length));
}

void FuseSession::invalidate(std::uint64_t ino, std::int64_t offset, std::int64_t length) const {
  fuse_notify_inval_inode_out what{};
  what.ino = ino;
  what.off = offset;
  what.len = length;
  fuse_out_header header{};
  header.len = sizeof header + sizeof what;
  header.error = FUSE_NOTIFY_INVAL_INODE;
  const std::array<iovec, 2> parts{iovec{&header, sizeof header}, iovec{&what, sizeof what}};
  // It fails only for an inode that the kernel does not know, and then there is nothing to drop.
  [[maybe_unused]] const ssize_t sent = ::writev(fd(), parts.data(), parts.size());
}

void FuseSession::abort() {
  if (impl_->device_minor) abort_connection(*impl_->device_minor);
}

std::optional<std::uint64_t> FuseSession::device_minor() const { return impl_->device_minor; }

void FuseSession::unmount() {
  if (!std::exchange(impl_->is_mounted, false)) return;
  fuse_session_unmount(impl_->session.get());
}

}  // namespace rram
