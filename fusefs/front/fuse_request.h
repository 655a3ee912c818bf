// A request that will be answered exactly once: move-only, and where nobody answered, its end
// answers EIO. A request that is taken and never answered would leave its process unkillable.
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "fusefs/front/libfuse.h"
#include "fusefs/front/request_slot.h"
#include "fusefs/namespace/attributes.h"

namespace rram {

class FuseSession;
class Volume;

class FuseRequest {
 public:
  // `request` has just been handed to a callback, on the thread of its slot.
  explicit FuseRequest(fuse_req_t request) : request_(request), slot_(RequestSlot::current()) {}
  FuseRequest(FuseRequest&& other) noexcept
      : request_(std::exchange(other.request_, nullptr)), slot_(other.slot_) {}
  FuseRequest& operator=(FuseRequest&&) = delete;
  FuseRequest(const FuseRequest&) = delete;
  FuseRequest& operator=(const FuseRequest&) = delete;
  ~FuseRequest();

  [[nodiscard]] RequestSlot& slot() const { return *slot_; }
  [[nodiscard]] const fuse_ctx& context() const { return *fuse_req_ctx(request_); }

  [[nodiscard]] const FuseSession& session() const;
  [[nodiscard]] Volume& volume() const;
  // Now, for what this request reads; nothing where the mount keeps no access times, or whoever
  // reads does not want it to show.
  [[nodiscard]] std::optional<Timestamp> access_time() const;
  // Whether the caller may give a file of this group S_ISGID: root, and who is in the group.
  [[nodiscard]] bool caller_may_set_gid(gid_t group) const;

  // Each consumes the request. A reply that the kernel no longer wants (its process was killed) is
  // dropped without a word: nothing can be done about it.
  void reply_ok() &&;
  void reply_error(const Error& error) &&;
  void reply_status(const Status& status) &&;
  void reply_errno(int errno_value) &&;
  void reply_entry(const fuse_entry_param& entry) &&;
  void reply_create(const fuse_entry_param& entry, const fuse_file_info& file) &&;
  void reply_attributes(const struct stat& attributes, double timeout_s) &&;
  void reply_symlink(const char* target) &&;
  void reply_open(const fuse_file_info& file) &&;
  void reply_written(std::size_t size_bytes) &&;
  void reply_bytes(std::span<const std::byte> bytes) &&;
  void reply_statfs(const struct statvfs& figures) &&;
  void reply_xattr_size(std::size_t size_bytes) &&;
  void reply_offset(off_t offset_bytes) &&;
  // No answer is expected (FORGET).
  void reply_nothing() &&;

 private:
  // Read from /proc where it is not its first group.
  [[nodiscard]] bool caller_is_in_group(gid_t group) const;

  template <typename Reply>
  void answer(Reply&& reply);

  fuse_req_t request_;
  RequestSlot* slot_;
};

}  // namespace rram
