// Owner of one io_uring: set up and torn down here and nowhere else.
#pragma once

#include <liburing.h>

#include <memory>

#include "base/result.h"

namespace rram {

namespace detail {
struct RingDeleter {
  void operator()(io_uring* ring) const;
};
}  // namespace detail

using UniqueRing = std::unique_ptr<io_uring, detail::RingDeleter>;

struct RingOptions {
  unsigned submission_entries = 256;
  unsigned completion_entries = 4096;
  // FUSE-over-io_uring commands need submission entries of 128 bytes.
  bool large_submission_entries = false;
};

// The ring belongs to the calling thread: only this thread may submit to it and reap from it.
// kUnavailable if the kernel has no io_uring or forbids it.
Result<UniqueRing> make_ring(const RingOptions& options);

}  // namespace rram
