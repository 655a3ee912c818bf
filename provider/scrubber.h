// Zeroes memory before it is lent again, on threads of its own: a worker that did it would let
// every requester of that worker wait.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <spdlog/logger.h>

#include "provider/pool.h"

namespace rram {

struct ScrubJob {
  std::uint32_t segment = 0;
  // Somebody else had the descriptor: the memory itself is replaced.
  bool renew = false;
};

// Threads: push() from any; `on_scrubbed` comes on a scrubber thread.
class Scrubber {
 public:
  // `pool` outlives this object.
  Scrubber(Pool& pool, unsigned threads, std::shared_ptr<spdlog::logger> log,
           std::function<void(std::uint32_t segment)> on_scrubbed);
  // Ends after the segments being scrubbed right now; the rest of the queue is dropped.
  ~Scrubber();
  Scrubber(const Scrubber&) = delete;
  Scrubber& operator=(const Scrubber&) = delete;

  void push(const std::vector<ScrubJob>& jobs);

 private:
  void run();
  bool scrub(const ScrubJob& job);

  Pool& pool_;
  const std::shared_ptr<spdlog::logger> log_;
  const std::function<void(std::uint32_t)> on_scrubbed_;

  std::mutex mutex_;  // guards queue_ and stopping_; a leaf: nothing is called under it
  std::condition_variable changed_;
  std::deque<ScrubJob> queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace rram
