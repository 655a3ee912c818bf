// Whether the provider behind a shared mapping is still there. The mapping itself outlives it, so
// somebody has to say that data written now would be lost: the owner of the control connection
// does, and the lanes, on their threads, look at it before each Operation.
//
// One object for each control connection; shared by the lease and the lanes that were opened while
// it lasted. Any thread.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "base/event_loop.h"
#include "base/result.h"

namespace rram {

class ProviderLife {
 public:
  // Told, on its own loop, when the provider is gone.
  class Listener {
   public:
    Listener() = default;
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;
    virtual void on_provider_gone(const Error& reason) = 0;

   protected:
    ~Listener() = default;
  };

  ProviderLife() = default;
  ProviderLife(const ProviderLife&) = delete;
  ProviderLife& operator=(const ProviderLife&) = delete;

  [[nodiscard]] bool is_over() const { return is_over_.load(std::memory_order_acquire); }
  // Why; only if is_over().
  [[nodiscard]] const Error& reason() const { return reason_; }

  // `listener` is told on the thread of `loop`, also if it is over already. Called on that thread,
  // and so is forget(), after which it is not told any more.
  void tell(Listener& listener, EventLoop& loop);
  void forget(Listener& listener);

  // The control connection is gone. Once.
  void end(const Error& reason);

 private:
  struct Entry {
    Listener* listener;  // null once forgotten
    EventLoop* loop;
  };
  using SharedEntry = std::shared_ptr<Entry>;

  void post(const SharedEntry& entry);

  std::atomic<bool> is_over_{false};
  Error reason_{ErrorCode::kDisconnected, {}};  // written before is_over_
  std::mutex mutex_;  // guards entries_ and the change of is_over_; EventLoop::post() under it
  std::vector<SharedEntry> entries_;
};

}  // namespace rram
