#include "provider/pool.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

namespace rram {

namespace {

constexpr unsigned kMaxPopulateThreads = 16;
constexpr std::chrono::milliseconds kProgressInterval{200};

// What the populating threads share; one of it per Pool::create().
struct PopulateState {
  std::mutex mutex;  // guards what follows; a leaf: nothing is called under it
  std::condition_variable changed;
  std::size_t next_segment = 0;
  std::size_t done_segments = 0;
  unsigned running_threads = 0;
  std::optional<Error> failure;
};

void populate_some(std::vector<Segment>& segments, PopulateState& state) {
  std::unique_lock lock(state.mutex);
  while (state.next_segment < segments.size() && !state.failure) {
    Segment& segment = segments[state.next_segment++];
    lock.unlock();
    Status populated = segment.populate();
    lock.lock();
    ++state.done_segments;
    if (!populated && !state.failure) state.failure = std::move(populated.error());
  }
  --state.running_threads;
  state.changed.notify_one();
}

unsigned thread_count(const PoolOptions& options, std::size_t segment_count) {
  unsigned threads = options.threads;
  if (threads == 0) threads = std::clamp(std::thread::hardware_concurrency(), 1U, 16U);
  threads = std::min(threads, kMaxPopulateThreads);
  return static_cast<unsigned>(std::min<std::size_t>(threads, segment_count));
}

}  // namespace

Result<std::unique_ptr<Pool>> Pool::create(const PoolPlan& plan, const PoolOptions& options) {
  std::unique_ptr<Pool> pool(new Pool(plan.segment_bytes));
  pool->segments_.reserve(plan.segment_count);
  for (std::uint32_t i = 0; i < plan.segment_count; ++i) {
    Result<Segment> segment =
        Segment::create({plan.segment_bytes, plan.huge_pages, options.lock_memory});
    if (!segment) return std::unexpected(segment.error());
    pool->segments_.push_back(std::move(*segment));
  }
  const Status populated = pool->populate(options);
  if (!populated) return std::unexpected(populated.error());
  return pool;
}

Status Pool::populate(const PoolOptions& options) {
  PopulateState state;
  state.running_threads = thread_count(options, segments_.size());
  std::vector<std::thread> threads;
  threads.reserve(state.running_threads);
  for (unsigned i = state.running_threads; i > 0; --i) {
    threads.emplace_back([this, &state] { populate_some(segments_, state); });
  }
  std::unique_lock lock(state.mutex);
  for (;;) {
    const bool is_finished = state.running_threads == 0;
    const std::uint64_t done_bytes = state.done_segments * segment_bytes_;
    lock.unlock();
    const bool go_on = !options.on_progress || options.on_progress(done_bytes, size_bytes());
    lock.lock();
    if (!go_on && !state.failure) state.failure = Error{ErrorCode::kCancelled, "interrupted"};
    if (is_finished) break;
    state.changed.wait_for(lock, kProgressInterval, [&] { return state.running_threads == 0; });
  }
  lock.unlock();
  for (std::thread& thread : threads) thread.join();
  if (state.failure) return std::unexpected(*state.failure);
  return {};
}

}  // namespace rram
