#include "provider/scrubber.h"

#include <chrono>
#include <utility>

namespace rram {

namespace {
// After the host had no memory for a segment.
constexpr std::chrono::seconds kRetryInterval{1};
}  // namespace

Scrubber::Scrubber(Pool& pool, unsigned threads, std::shared_ptr<spdlog::logger> log,
                   std::function<void(std::uint32_t)> on_scrubbed)
    : pool_(pool), log_(std::move(log)), on_scrubbed_(std::move(on_scrubbed)) {
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

void Scrubber::push(const std::vector<ScrubJob>& jobs) {
  {
    const std::lock_guard lock(mutex_);
    queue_.insert(queue_.end(), jobs.begin(), jobs.end());
  }
  changed_.notify_all();
}

void Scrubber::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    const ScrubJob job = queue_.front();
    queue_.pop_front();
    lock.unlock();
    const bool is_clean = scrub(job);
    if (is_clean) on_scrubbed_(job.segment);
    lock.lock();
    if (is_clean) continue;
    queue_.push_back(job);
    changed_.wait_for(lock, kRetryInterval, [this] { return stopping_; });
  }
}

bool Scrubber::scrub(const ScrubJob& job) {
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
