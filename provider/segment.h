// One piece of the pool: a sealed memfd and this process's mapping of it, locked in memory.
//
// Threads: one at a time. Until a segment is pinned, only the filler touches it; while it is
// leased, only the connections of that lease touch its bytes; while it is being scrubbed, only the
// scrubber.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "base/fd.h"
#include "base/mapping.h"
#include "base/result.h"

namespace rram {

struct SegmentOptions {
  std::uint64_t size_bytes = 0;
  bool huge_pages = false;  // of the hugetlb kind
  bool lock_memory = true;  // mlock; needs CAP_IPC_LOCK or a high RLIMIT_MEMLOCK
};

// Asked before that many bytes are taken from the host; its failure says why they must not be.
using MayTakeMemory = std::function<Status(std::uint64_t bytes)>;

class Segment {
 public:
  // A memfd of its full size that nobody can shrink, grow or seal further, mapped and marked to be
  // locked; its pages come with populate(). Errors say what the host lacks and the remedy.
  static Result<Segment> create(const SegmentOptions& options);

  // Gives every page a frame, so that no later access can fail or wait for one. Slow, in steps,
  // each of which asks `may_take` first.
  Status populate(const MayTakeMemory& may_take = {});
  // The memory goes back to the host; only renew() and the destructor may follow.
  void close();

  [[nodiscard]] std::span<std::byte> bytes() const { return mapping_.bytes(); }
  // For passing to a requester on this host.
  [[nodiscard]] int fd() const { return memory_fd_.get(); }

  // Zeroes the bytes in place. Right only if nobody else has the descriptor.
  void wipe();

  // Frees the pages of the memfd, so that whoever still maps it keeps nothing of what was in it,
  // and takes a fresh memfd in its place. After an error the segment has no memory: try again.
  Status renew();

 private:
  explicit Segment(const SegmentOptions& options) : options_(options) {}
  Status open();

  SegmentOptions options_;
  UniqueFd memory_fd_;
  Mapping mapping_;
};

}  // namespace rram
