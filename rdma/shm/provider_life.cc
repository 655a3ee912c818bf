#include "rdma/shm/provider_life.h"

#include <algorithm>
#include <ctime>

namespace rram {

namespace {

// How far the coarse clock may be behind, and then some.
constexpr std::uint64_t kClockMarginMs = 100;

// The coarse clock costs a few nanoseconds, which counts beside a copy of 4 KiB.
std::uint64_t coarse_now_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000 +
         static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
}

}  // namespace

bool ProviderLife::is_confirmed() const {
  return coarse_now_ms() + kClockMarginMs < valid_until_ms_.load(std::memory_order_relaxed);
}

void ProviderLife::confirm(std::uint64_t valid_until_ms) {
  valid_until_ms_.store(valid_until_ms, std::memory_order_relaxed);
}

void ProviderLife::tell(Listener& listener, EventLoop& loop) {
  auto entry = std::make_shared<Entry>(Entry{&listener, &loop});
  const std::lock_guard lock(mutex_);
  if (is_over()) post(entry);
  entries_.push_back(std::move(entry));
}

void ProviderLife::forget(Listener& listener) {
  const std::lock_guard lock(mutex_);
  std::erase_if(entries_, [&listener](const SharedEntry& entry) {
    if (entry->listener != &listener) return false;
    entry->listener = nullptr;  // what was posted already finds nobody
    return true;
  });
}

void ProviderLife::end(const Error& reason) {
  const std::lock_guard lock(mutex_);
  if (is_over()) return;
  reason_ = reason;
  is_over_.store(true, std::memory_order_release);
  std::ranges::for_each(entries_, [this](const SharedEntry& entry) { post(entry); });
}

void ProviderLife::post(const SharedEntry& entry) {
  entry->loop->post([this, entry] {
    // A listener holds this object, so this object is there as long as its listener is.
    if (entry->listener != nullptr) entry->listener->on_provider_gone(reason());
  });
}

}  // namespace rram
