// One request of the kernel on its way through the daemon: where it was received, where its reply's
// payload may be produced in place, and how the reply leaves. The two front ends (ring_queue.h,
// dev_queue.h) are its two kinds; everything behind them sees only this.
//
// A slot belongs to one worker and carries one request at a time.
#pragma once

#include <sys/uio.h>

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>

namespace rram {

class Worker;

class RequestSlot {
 public:
  RequestSlot(const RequestSlot&) = delete;
  RequestSlot& operator=(const RequestSlot&) = delete;

  [[nodiscard]] Worker& worker() const { return worker_; }

  // The kernel's number of the request that the slot carries.
  [[nodiscard]] std::uint64_t unique() const { return unique_; }
  void set_unique(std::uint64_t unique) { unique_ = unique; }

  // The kernel leaves it to us to clear the set-id bits of the file that this request changes.
  [[nodiscard]] bool clears_set_id() const { return clears_set_id_; }
  void set_clears_set_id(bool clears) { clears_set_id_ = clears; }

  // A read that must not show: through a descriptor that was opened with O_NOATIME.
  [[nodiscard]] bool leaves_access_time() const { return leaves_access_time_; }
  void set_leaves_access_time(bool leaves) { leaves_access_time_ = leaves; }

  // A file that is to be created without a name (O_TMPFILE).
  [[nodiscard]] bool is_unnamed() const { return is_unnamed_; }
  void set_unnamed(bool is_unnamed) { is_unnamed_ = is_unnamed; }

  // Room for the payload of the reply: what is produced here is not copied again. It may be the
  // same memory as the request's own payload. It lies in the worker's arena.
  [[nodiscard]] virtual std::span<std::byte> reply_payload() = 0;

  // Sends the reply: a fuse_out_header, then its parts. The slot is free for the next request
  // afterwards. Returns the bytes taken, or -1 with errno, as writev(2).
  virtual ssize_t send_reply(std::span<const iovec> parts) = 0;

  // The slot whose request libfuse is decoding or answering on this thread: libfuse's callbacks
  // carry no room of their own for it. Null between requests.
  static RequestSlot* current() { return current_; }

  // Makes `slot` current for a scope.
  class Scope {
   public:
    explicit Scope(RequestSlot* slot) : previous_(current_) { current_ = slot; }
    ~Scope() { current_ = previous_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    RequestSlot* previous_;
  };

 protected:
  explicit RequestSlot(Worker& worker) : worker_(worker) {}
  ~RequestSlot() = default;

 private:
  Worker& worker_;
  std::uint64_t unique_ = 0;
  bool clears_set_id_ = false;
  bool leaves_access_time_ = false;
  bool is_unnamed_ = false;
  static thread_local RequestSlot* current_;
};

}  // namespace rram
