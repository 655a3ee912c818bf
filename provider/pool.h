// The memory that this provider lends, cut into segments of equal size.
//
// Threads: the list of segments never changes after create(); each segment belongs to the filler,
// to one lease or to the scrubber at a time (LeaseTable says to whom), so that no lock is needed
// here.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "provider/pool_plan.h"
#include "provider/segment.h"

namespace rram {

struct PoolOptions {
  bool lock_memory = true;
};

class Pool {
 public:
  // All of it mapped and marked to be locked, so that a limit that is too low shows at once; its
  // pages come with PoolFiller. Errors: kUnavailable and others, with the remedy.
  static Result<std::unique_ptr<Pool>> create(const PoolPlan& plan, const PoolOptions& options);

  [[nodiscard]] std::uint32_t segment_count() const {
    return static_cast<std::uint32_t>(segments_.size());
  }
  [[nodiscard]] std::uint64_t segment_bytes() const { return segment_bytes_; }
  // Without the segments that were given back.
  [[nodiscard]] std::uint64_t size_bytes() const {
    return segment_bytes_ * (segments_.size() - given_back_.load(std::memory_order_relaxed));
  }
  [[nodiscard]] Segment& segment(std::uint32_t index) { return segments_.at(index); }
  // The segment leaves the pool and its memory goes back to the host. Nobody uses it any more.
  void give_back(std::uint32_t index);

 private:
  explicit Pool(std::uint64_t segment_bytes) : segment_bytes_(segment_bytes) {}

  std::uint64_t segment_bytes_;
  std::vector<Segment> segments_;
  std::atomic<std::uint32_t> given_back_{0};
};

}  // namespace rram
