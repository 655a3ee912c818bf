#include "rdma/shm/provider_life.h"

#include <algorithm>

namespace rram {

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
