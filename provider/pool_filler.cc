#include "provider/pool_filler.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace rram {

namespace {

constexpr unsigned kMaxThreads = 16;

unsigned thread_count(unsigned wanted, std::uint32_t segment_count) {
  if (wanted == 0) wanted = std::max(std::thread::hardware_concurrency(), 1U);
  return std::clamp(std::min(wanted, segment_count), 1U, kMaxThreads);
}

}  // namespace

PoolFiller::PoolFiller(Pool& pool, PoolFillerOptions options)
    : pool_(pool), options_(std::move(options)) {
  start_threads(thread_count(options_.threads, pool_.segment_count()));
}

// As many as the host gives; without a single one this throws, as std::thread does.
void PoolFiller::start_threads(unsigned count) {
  const std::lock_guard lock(mutex_);  // so that none of them takes itself for the last
  threads_.reserve(count);
  while (running_threads_ < count) {
    try {
      threads_.emplace_back([this] { run(); });
    } catch (const std::system_error&) {
      if (running_threads_ == 0) throw;
      return;
    }
    ++running_threads_;
  }
}

void PoolFiller::stop() {
  is_stopping_ = true;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

bool PoolFiller::wait(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, [this] { return running_threads_ == 0; });
}

void PoolFiller::run() {
  while (const std::optional<std::uint32_t> segment = next_segment()) pin(*segment);
  leave();
}

std::optional<std::uint32_t> PoolFiller::next_segment() {
  const std::lock_guard lock(mutex_);
  if (is_stopping_ || failure_ || next_segment_ == pool_.segment_count()) return std::nullopt;
  return next_segment_++;
}

void PoolFiller::pin(std::uint32_t segment) {
  Status populated = pool_.segment(segment).populate([this](std::uint64_t bytes) -> Status {
    if (is_stopping_) return fail(ErrorCode::kCancelled, "the provider is being stopped");
    return options_.may_take ? options_.may_take(bytes) : Status{};
  });
  if (populated) {
    pinned_bytes_.fetch_add(pool_.segment_bytes(), std::memory_order_relaxed);
    options_.on_pinned(segment);
    return;
  }
  const std::lock_guard lock(mutex_);
  if (!failure_) failure_ = std::move(populated.error());
}

void PoolFiller::leave() {
  std::unique_lock lock(mutex_);
  if (running_threads_ == 1 && failure_ && !is_stopping_) {
    // The others have left, so nobody changes it any more.
    lock.unlock();
    options_.on_failed(*failure_);
    lock.lock();
  }
  if (--running_threads_ == 0) changed_.notify_all();
}

}  // namespace rram
