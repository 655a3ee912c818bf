#include "provider/pool.h"

#include <utility>

namespace rram {

Result<std::unique_ptr<Pool>> Pool::create(const PoolPlan& plan, const PoolOptions& options) {
  std::unique_ptr<Pool> pool(new Pool(plan.segment_bytes));
  pool->segments_.reserve(plan.segment_count);
  for (std::uint32_t i = 0; i < plan.segment_count; ++i) {
    Result<Segment> segment =
        Segment::create({plan.segment_bytes, plan.huge_pages, options.lock_memory});
    if (!segment) return std::unexpected(segment.error());
    pool->segments_.push_back(std::move(*segment));
  }
  return pool;
}

void Pool::give_back(std::uint32_t index) {
  segment(index).close();
  given_back_.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace rram
