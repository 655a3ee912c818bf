#include "fusefs/front/page_flusher.h"

namespace rram {

PageFlusher::PageFlusher(const FuseSession& session)
    : session_(session), thread_([this] { run(); }) {}

PageFlusher::~PageFlusher() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void PageFlusher::add(Flush& flush) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(&flush);
  }
  changed_.notify_one();
}

void PageFlusher::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return is_ending_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    const Flush& flush = *waiting_.front();
    waiting_.pop_front();
    lock.unlock();
    session_.write_back_pages(flush.ino_, flush.offset_, flush.length_);
    // The flush is part of the coroutine's frame, which is gone once it has resumed.
    flush.loop_.post([awaiter = flush.awaiter_] { awaiter.resume(); });
    lock.lock();
  }
}

}  // namespace rram
