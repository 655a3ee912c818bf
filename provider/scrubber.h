// Takes the memory of leases that are over back, on threads of its own: a worker that did it would
// let every requester of that worker wait. First the lease is revoked (devices may have to forget
// hundreds of gigabytes, which takes seconds), then its segments are zeroed, on all threads.
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

#include "provider/lease_table.h"
#include "provider/pool.h"

namespace rram {

// Called on scrubber threads, for different leases and segments at the same time, with no lock
// held.
struct ScrubSteps {
  // Takes from everybody the means to reach the memory. Before any segment of the lease is zeroed.
  std::function<void(const FencedLease&)> revoke;
  // The segment is all zeros.
  std::function<void(std::uint32_t segment)> on_scrubbed;
};

// Threads: push() from any.
class Scrubber {
 public:
  // `pool` outlives this object.
  Scrubber(Pool& pool, unsigned threads, std::shared_ptr<spdlog::logger> log, ScrubSteps steps);
  // Ends after what its threads do right now. The rest is dropped: leases that were not revoked,
  // segments that were not zeroed. Right where the pool is not lent again.
  ~Scrubber();
  Scrubber(const Scrubber&) = delete;
  Scrubber& operator=(const Scrubber&) = delete;

  void push(std::vector<FencedLease> leases);

 private:
  struct Job {
    std::uint32_t segment = 0;
    // Somebody else had the descriptor: the memory itself is replaced.
    bool renew = false;
  };

  void run();
  void revoke_next(std::unique_lock<std::mutex>& lock);
  void scrub_next(std::unique_lock<std::mutex>& lock);
  bool scrub(const Job& job);

  Pool& pool_;
  const std::shared_ptr<spdlog::logger> log_;
  const ScrubSteps steps_;

  std::mutex mutex_;  // guards leases_, jobs_ and stopping_; a leaf: nothing is called under it
  std::condition_variable changed_;
  std::deque<FencedLease> leases_;
  std::deque<Job> jobs_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace rram
