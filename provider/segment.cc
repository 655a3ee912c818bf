#include "provider/segment.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/size_text.h"

namespace rram {

namespace {

// Small, because 16 threads that ask at the same time may all be told yes; a multiple of huge
// pages.
constexpr std::uint64_t kPopulateStepBytes = std::uint64_t{16} << 20;

std::unexpected<Error> fail_to_lock(int errno_value, std::uint64_t size_bytes) {
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  return fail(
      ErrorCode::kUnavailable,
      fmt::format("cannot lock {} of the pool in memory ({}): the limit RLIMIT_MEMLOCK is "
                  "{}; run as root or with CAP_IPC_LOCK, or raise it "
                  "(`ulimit -l unlimited`, or LimitMEMLOCK=infinity in a systemd unit)",
                  size_text(size_bytes), std::strerror(errno_value),
                  limit.rlim_cur == RLIM_INFINITY ? "unlimited" : size_text(limit.rlim_cur)));
}

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

// What requesters store is data: nobody who is passed the memory can make a program of it. Linux
// 6.3 knows the flag; with vm.memfd_noexec=2 it makes no memfd without it.
UniqueFd make_memfd(unsigned flags) {
  UniqueFd memory_fd(::memfd_create("rram-pool", flags | MFD_NOEXEC_SEAL));
  if (!memory_fd && errno == EINVAL) memory_fd.reset(::memfd_create("rram-pool", flags));
  return memory_fd;
}

Result<UniqueFd> make_memory_fd(const SegmentOptions& options) {
  const unsigned huge_flag = options.huge_pages ? MFD_HUGETLB : 0U;
  UniqueFd memory_fd = make_memfd(MFD_CLOEXEC | MFD_ALLOW_SEALING | huge_flag);
  if (!memory_fd) return fail_errno(errno, "cannot make a memfd for the pool");
  if (::ftruncate(memory_fd.get(), static_cast<off_t>(options.size_bytes)) != 0) {
    return fail_errno(
        errno, fmt::format("cannot size a memfd of the pool to {}", size_text(options.size_bytes)));
  }
  // A requester that gets the descriptor must not be able to cut the file under our mapping.
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  if (::fcntl(memory_fd.get(), F_ADD_SEALS, kSeals) != 0) {
    return fail_errno(errno, "cannot seal a memfd of the pool");
  }
  return memory_fd;
}

}  // namespace

Result<Segment> Segment::create(const SegmentOptions& options) {
  Segment segment(options);
  const Status opened = segment.open();
  if (!opened) return std::unexpected(opened.error());
  return segment;
}

Status Segment::open() {
  Result<UniqueFd> memory_fd = make_memory_fd(options_);
  if (!memory_fd) return std::unexpected(memory_fd.error());
  Result<Mapping> mapping = Mapping::shared(memory_fd->get(), options_.size_bytes);
  if (!mapping) {
    if (!options_.huge_pages) return std::unexpected(mapping.error());
    return fail(ErrorCode::kUnavailable,
                fmt::format("{}: another program took the free huge pages; reserve more with "
                            "`sysctl vm.nr_hugepages`, or use --hugepages off",
                            mapping.error().message));
  }
  // Only advice: where shmem_enabled is `never` it changes nothing.
  if (!options_.huge_pages) ::madvise(mapping->data(), mapping->size_bytes(), MADV_HUGEPAGE);
  // ONFAULT charges the limit now, so that a limit that is too low shows before the slow part.
  if (options_.lock_memory &&
      ::mlock2(mapping->data(), mapping->size_bytes(), MLOCK_ONFAULT) != 0) {
    return fail_to_lock(errno, options_.size_bytes);
  }
  memory_fd_ = std::move(*memory_fd);
  mapping_ = std::move(*mapping);
  return {};
}

Status Segment::populate(const MayTakeMemory& may_take) {
  std::span<std::byte> rest = mapping_.bytes();
  while (!rest.empty()) {
    const std::span<std::byte> step =
        rest.first(std::min<std::size_t>(rest.size(), kPopulateStepBytes));
    if (may_take) {
      Status allowed = may_take(step.size());
      if (!allowed) return allowed;
    }
    if (::madvise(step.data(), step.size(), MADV_POPULATE_WRITE) != 0) {
      return fail(ErrorCode::kUnavailable,
                  fmt::format("cannot get {} of memory for the pool: {}; lend less with --size",
                              size_text(step.size()), std::strerror(errno)));
    }
    rest = rest.subspan(step.size());
  }
  return {};
}

void Segment::close() {
  mapping_ = Mapping();
  memory_fd_.reset();
}

void Segment::wipe() { std::memset(mapping_.data(), 0, mapping_.size_bytes()); }

Status Segment::renew() {
  if (memory_fd_) {
    constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    if (::fallocate(memory_fd_.get(), kPunch, 0, static_cast<off_t>(options_.size_bytes)) != 0) {
      return fail_errno(errno, "cannot free the pages of a segment that a requester has mapped");
    }
    close();
  }
  const Status opened = open();
  if (!opened) return opened;
  const Status populated = populate();
  if (!populated) close();
  return populated;
}

}  // namespace rram
