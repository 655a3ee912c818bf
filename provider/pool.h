// The memory that this provider lends, cut into segments of equal size.
//
// Threads: the list of segments never changes after create(); each segment belongs to one lease or
// to the scrubber at a time (LeaseTable says to whom), so that no lock is needed here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "provider/pool_plan.h"
#include "provider/segment.h"

namespace rram {

struct PoolOptions {
  unsigned threads = 0;  // that populate in parallel; 0: one a CPU, at most 16
  bool lock_memory = true;
  // Called on the creating thread a few times a second. False: give up, kCancelled.
  std::function<bool(std::uint64_t done_bytes, std::uint64_t total_bytes)> on_progress;
};

class Pool {
 public:
  // All of it mapped, locked and populated. Errors: kUnavailable and others, with the remedy.
  static Result<std::unique_ptr<Pool>> create(const PoolPlan& plan, const PoolOptions& options);

  [[nodiscard]] std::uint32_t segment_count() const {
    return static_cast<std::uint32_t>(segments_.size());
  }
  [[nodiscard]] std::uint64_t segment_bytes() const { return segment_bytes_; }
  [[nodiscard]] std::uint64_t size_bytes() const { return segment_bytes_ * segments_.size(); }
  [[nodiscard]] Segment& segment(std::uint32_t index) { return segments_.at(index); }

 private:
  explicit Pool(std::uint64_t segment_bytes) : segment_bytes_(segment_bytes) {}
  Status populate(const PoolOptions& options);

  std::uint64_t segment_bytes_;
  std::vector<Segment> segments_;
};

}  // namespace rram
