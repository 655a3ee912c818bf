#include "fusefs/front/fuse_request.h"

#include <algorithm>
#include <cerrno>
#include <vector>

#include "fusefs/errno_of.h"
#include "fusefs/front/convert.h"
#include "fusefs/front/operations.h"

namespace rram {

namespace {
constexpr std::size_t kCommonGroups = 64;  // of a process; more are asked for again
}

thread_local RequestSlot* RequestSlot::current_ = nullptr;

template <typename Reply>
void FuseRequest::answer(Reply&& reply) {
  fuse_req_t request = std::exchange(request_, nullptr);
  assert(request != nullptr);  // a second answer
  const RequestSlot::Scope scope(slot_);
  reply(request);
}

FuseRequest::~FuseRequest() {
  if (request_ != nullptr) std::move(*this).reply_errno(EIO);
}

void FuseRequest::reply_errno(int errno_value) && {
  answer([&](fuse_req_t request) { fuse_reply_err(request, errno_value); });
}

const FuseSession& FuseRequest::session() const {
  return *static_cast<const OperationsContext*>(fuse_req_userdata(request_))->session;
}

Volume& FuseRequest::volume() const { return operations_of(request_).volume(); }

std::optional<Timestamp> FuseRequest::access_time() const {
  const bool mount_keeps_them = operations_of(request_).options().keeps_access_times;
  if (!mount_keeps_them || slot().leaves_access_time()) return std::nullopt;
  return wall_clock_now();
}

bool FuseRequest::caller_may_set_gid(gid_t group) const {
  return context().uid == 0 || caller_is_in_group(group);
}

bool FuseRequest::caller_is_in_group(gid_t group) const {
  if (context().gid == group) return true;
  std::vector<gid_t> groups(kCommonGroups);
  int count = fuse_req_getgroups(request_, static_cast<int>(groups.size()), groups.data());
  if (count > static_cast<int>(groups.size())) {
    groups.resize(static_cast<std::size_t>(count));
    count = fuse_req_getgroups(request_, count, groups.data());
  }
  if (count < 0) return false;  // the process has gone, or is of another namespace
  groups.resize(std::min(groups.size(), static_cast<std::size_t>(count)));
  return std::ranges::find(groups, group) != groups.end();
}

void FuseRequest::reply_ok() && { std::move(*this).reply_errno(0); }

void FuseRequest::reply_error(const Error& error) && {
  std::move(*this).reply_errno(errno_of(error.code));
}

void FuseRequest::reply_status(const Status& status) && {
  std::move(*this).reply_errno(status ? 0 : errno_of(status.error().code));
}

void FuseRequest::reply_entry(const fuse_entry_param& entry) && {
  answer([&](fuse_req_t request) { fuse_reply_entry(request, &entry); });
}

void FuseRequest::reply_create(const fuse_entry_param& entry, const fuse_file_info& file) && {
  answer([&](fuse_req_t request) { fuse_reply_create(request, &entry, &file); });
}

void FuseRequest::reply_attributes(const struct stat& attributes, double timeout_s) && {
  answer([&](fuse_req_t request) { fuse_reply_attr(request, &attributes, timeout_s); });
}

void FuseRequest::reply_symlink(const char* target) && {
  answer([&](fuse_req_t request) { fuse_reply_readlink(request, target); });
}

void FuseRequest::reply_open(const fuse_file_info& file) && {
  answer([&](fuse_req_t request) { fuse_reply_open(request, &file); });
}

void FuseRequest::reply_written(std::size_t size_bytes) && {
  answer([&](fuse_req_t request) { fuse_reply_write(request, size_bytes); });
}

void FuseRequest::reply_bytes(std::span<const std::byte> bytes) && {
  answer([&](fuse_req_t request) {
    fuse_reply_buf(request, reinterpret_cast<const char*>(bytes.data()), bytes.size());
  });
}

void FuseRequest::reply_statfs(const struct statvfs& figures) && {
  answer([&](fuse_req_t request) { fuse_reply_statfs(request, &figures); });
}

void FuseRequest::reply_xattr_size(std::size_t size_bytes) && {
  answer([&](fuse_req_t request) { fuse_reply_xattr(request, size_bytes); });
}

void FuseRequest::reply_offset(off_t offset_bytes) && {
  answer([&](fuse_req_t request) { fuse_reply_lseek(request, offset_bytes); });
}

void FuseRequest::reply_nothing() && {
  answer([](fuse_req_t request) { fuse_reply_none(request); });
}

}  // namespace rram
