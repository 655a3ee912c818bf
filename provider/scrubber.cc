#include "provider/scrubber.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

namespace rram {

namespace {
// After the host had no memory for a segment.
constexpr std::chrono::seconds kRetryInterval{1};
}  // namespace

Scrubber::Scrubber(Pool& pool, unsigned threads, std::shared_ptr<spdlog::logger> log,
                   ScrubSteps steps)
    : pool_(pool), log_(std::move(log)), steps_(std::move(steps)) {
  threads_.reserve(threads);
  for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
}

Scrubber::~Scrubber() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Scrubber::push(std::vector<FencedLease> leases) {
  if (leases.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    std::ranges::move(leases, std::back_inserter(leases_));
  }
  changed_.notify_all();
}

// Leases come first: a requester waits for RELEASED, nobody in particular for a segment.
void Scrubber::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !leases_.empty() || !jobs_.empty(); });
    if (stopping_) return;
    if (leases_.empty()) {
      scrub_next(lock);
    } else {
      revoke_next(lock);
    }
  }
}

void Scrubber::revoke_next(std::unique_lock<std::mutex>& lock) {
  const FencedLease lease = std::move(leases_.front());
  leases_.pop_front();
  lock.unlock();
  steps_.revoke(lease);
  lock.lock();
  for (const std::uint32_t segment : lease.segments) {
    jobs_.push_back({segment, lease.descriptors_passed});
  }
  changed_.notify_all();
}

void Scrubber::scrub_next(std::unique_lock<std::mutex>& lock) {
  const Job job = jobs_.front();
  jobs_.pop_front();
  lock.unlock();
  const bool is_clean = scrub(job);
  if (is_clean) steps_.on_scrubbed(job.segment);
  lock.lock();
  if (is_clean) return;
  jobs_.push_back(job);
  changed_.wait_for(lock, kRetryInterval, [this] { return stopping_ || !leases_.empty(); });
}

bool Scrubber::scrub(const Job& job) {
  Segment& segment = pool_.segment(job.segment);
  if (!job.renew) {
    segment.wipe();
    return true;
  }
  const Status renewed = segment.renew();
  if (renewed) return true;
  log_->warn("segment {} cannot be lent again yet: {}", job.segment, renewed.error().message);
  return false;
}

}  // namespace rram
