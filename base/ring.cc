#include "base/ring.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cstring>

namespace rram {

void detail::RingDeleter::operator()(io_uring* ring) const {
  // liburing 2.3 unmaps 64 bytes an entry even where entries are 128 bytes: the other half is ours.
  if ((ring->flags & IORING_SETUP_SQE128) != 0) {
    const std::size_t half_bytes = std::size_t{ring->sq.ring_entries} * sizeof(io_uring_sqe);
    ::munmap(reinterpret_cast<std::byte*>(ring->sq.sqes) + half_bytes, half_bytes);
  }
  io_uring_queue_exit(ring);
  delete ring;
}

Result<UniqueRing> make_ring(const RingOptions& options) {
  io_uring_params params{};
  params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN |
                 IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL;
  if (options.large_submission_entries) params.flags |= IORING_SETUP_SQE128;
  params.cq_entries = options.completion_entries;
  auto ring = std::make_unique<io_uring>();
  const int rc = io_uring_queue_init_params(options.submission_entries, ring.get(), &params);
  if (rc < 0) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("cannot set up an io_uring ({}): it needs Linux 6.1 or newer and "
                            "kernel.io_uring_disabled = 0",
                            std::strerror(-rc)));
  }
  return UniqueRing(ring.release());
}

}  // namespace rram
