// The FUSE session: libfuse decodes requests and encodes replies, our event loops carry them.
//
// One per mount, owned by main. mount(), handshake() and unmount() are for the main thread;
// process() for any worker, with its own slot.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "fusefs/front/request_slot.h"

struct fuse_session;

namespace rram {

class Operations;

// The largest payload of one request, and so of one ring entry, in bytes.
constexpr std::size_t kMaxPayloadBytes = std::size_t{1} << 20;

struct SessionOptions {
  std::string program;                     // argv[0], for libfuse's messages
  std::vector<std::string> mount_options;  // what goes to mount(2) or fusermount3: "ro", "fsname=x"
  bool debug = false;
  bool wants_io_uring = false;
  bool direct_io = false;
};

class FuseSession {
 public:
  // `operations` must outlive the session. kInvalidArgument: an option that libfuse refuses.
  static Result<std::unique_ptr<FuseSession>> create(const SessionOptions& options,
                                                     Operations& operations);
  ~FuseSession();
  FuseSession(const FuseSession&) = delete;
  FuseSession& operator=(const FuseSession&) = delete;

  // Mounts; the kernel's requests wait in /dev/fuse from now on.
  Status mount(const std::string& mountpoint);

  // Answers the kernel's INIT. Afterwards requests come; uses_io_uring() is decided. If io_uring is
  // wanted, every queue must exist before.
  Status handshake();

  // The kernel offers FUSE-over-io_uring and it was wanted.
  [[nodiscard]] bool uses_io_uring() const { return uses_io_uring_; }

  // /dev/fuse, non-blocking from handshake() on.
  [[nodiscard]] int fd() const;
  // One more descriptor of the same mount, with replies of its own, non-blocking.
  Result<UniqueFd> clone_fd() const;

  // Decodes the request of `slot` and starts it. True if it has been or will be answered; false for
  // the kinds that have no answer. Any worker's thread.
  bool process(RequestSlot& slot, std::span<std::byte> request);

  // The kernel asks for the file's attributes again before it next relies on them. Any thread.
  void drop_cached_attributes(std::uint64_t ino) const;

  // What the kernel has cached of the range (length 0: to the end) is written back and dropped.
  // Waits for the writes: not for a worker's thread.
  void write_back_pages(std::uint64_t ino, std::uint64_t offset, std::uint64_t length) const;

  // Ends the connection from outside: every request of the mount fails, and every queue ends. Any
  // thread.
  void abort();

  // The device number of the mount, in messages of the kernel "0:N"; nothing before mount().
  [[nodiscard]] std::optional<std::uint64_t> device_minor() const;

  // Takes the mount away if it is still there; the descriptor is closed.
  void unmount();

 private:
  struct Impl;
  explicit FuseSession(std::unique_ptr<Impl> impl);

  static ssize_t write_callback(int fd, struct iovec* parts, int count, void* user_data);
  static ssize_t read_callback(int fd, void* buffer, std::size_t size_bytes, void* user_data);
  void invalidate(std::uint64_t ino, std::int64_t offset, std::int64_t length) const;
  void patch_init_reply(std::span<iovec> parts) const;

  std::unique_ptr<Impl> impl_;
  bool uses_io_uring_ = false;
};

}  // namespace rram
