// Pins the memory of a pool, segment by segment in their order, on threads of its own, so that the
// first segments can be lent while the last are still to come: a large pool takes minutes.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/result.h"
#include "provider/pool.h"
#include "provider/segment.h"

namespace rram {

struct PoolFillerOptions {
  unsigned threads = 0;  // 0: one a CPU, at most 16
  // Called on several filler threads at the same time; empty: always.
  MayTakeMemory may_take;
  // On filler threads, with no lock held: the segment is pinned, and the filler is done with it.
  std::function<void(std::uint32_t segment)> on_pinned;
  // On the last filler thread, with no lock held, at most once: a segment could not be pinned, no
  // further on_pinned comes, and the filler is done with all segments. Not after stop().
  std::function<void(const Error&)> on_failed;
};

// Threads: made, stopped and destroyed on one; the rest from any.
class PoolFiller {
 public:
  // Begins at once. `pool` outlives this object.
  PoolFiller(Pool& pool, PoolFillerOptions options);
  ~PoolFiller() { stop(); }
  PoolFiller(const PoolFiller&) = delete;
  PoolFiller& operator=(const PoolFiller&) = delete;

  // Ends after the steps under way (see Segment::populate); segments half way through stay
  // unpinned.
  void stop();
  // True when nothing more will be pinned, and on_failed has returned if it had to be called; false
  // when `limit` has passed before.
  bool wait(std::chrono::milliseconds limit);
  [[nodiscard]] std::uint64_t pinned_bytes() const {
    return pinned_bytes_.load(std::memory_order_relaxed);
  }

 private:
  void start_threads(unsigned count);
  void run();
  std::optional<std::uint32_t> next_segment();
  void pin(std::uint32_t segment);
  void leave();

  Pool& pool_;
  const PoolFillerOptions options_;
  std::atomic<std::uint64_t> pinned_bytes_{0};
  std::atomic<bool> is_stopping_{false};

  std::mutex mutex_;  // guards what follows, without threads_; a leaf: nothing is called under it
  std::condition_variable changed_;
  std::uint32_t next_segment_ = 0;
  unsigned running_threads_ = 0;
  std::optional<Error> failure_;
  std::vector<std::thread> threads_;
};

}  // namespace rram
