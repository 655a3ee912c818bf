// A thread that has the kernel write back what it has cached of a file: the kernel answers only
// when that is done, and the workers must carry the writes meanwhile.
//
// One per mount, owned by the front end; made after the session's handshake, ended when no request
// is under way.
#pragma once

#include <condition_variable>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>

#include "base/event_loop.h"
#include "fusefs/front/session.h"

namespace rram {

class PageFlusher {
 public:
  explicit PageFlusher(const FuseSession& session);
  ~PageFlusher();
  PageFlusher(const PageFlusher&) = delete;
  PageFlusher& operator=(const PageFlusher&) = delete;

  // Resumes on `loop` when the range (length 0: to the end) has been written back and dropped from
  // the page cache.
  class Flush {
   public:
    Flush(PageFlusher& flusher, EventLoop& loop, std::uint64_t ino, std::uint64_t offset,
          std::uint64_t length)
        : flusher_(flusher), loop_(loop), ino_(ino), offset_(offset), length_(length) {}
    static bool await_ready() { return false; }
    void await_suspend(std::coroutine_handle<> awaiter) {
      awaiter_ = awaiter;
      flusher_.add(*this);
    }
    static void await_resume() {}

   private:
    friend class PageFlusher;
    PageFlusher& flusher_;
    EventLoop& loop_;
    std::uint64_t ino_;
    std::uint64_t offset_;
    std::uint64_t length_;
    std::coroutine_handle<> awaiter_;
  };

 private:
  void add(Flush& flush);
  void run();

  const FuseSession& session_;
  std::mutex mutex_;  // leaf; guards what follows
  std::condition_variable changed_;
  std::deque<Flush*> waiting_;
  bool is_ending_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace rram
