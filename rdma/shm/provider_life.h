// Whether the provider behind a shared mapping is still there, and the memory still ours. The
// mapping itself outlives both, so somebody has to say that data written now would be lost: the
// owner of the control connection does, and the lanes, on their threads, look at it before each
// Operation.
//
// A requester that did not run for a while (stopped, starved) may have been given up: the provider
// has emptied the memory, and nobody has yet read the message that says so. So an Operation counts
// only if it ended before the time until which the provider keeps the lease in any case.
//
// One object for each control connection; shared by the lease and the lanes that were opened while
// it lasted. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
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
  // True if what was copied before this call went to, or came from, memory of the lease.
  [[nodiscard]] bool is_confirmed() const;
  // The provider keeps the lease until then, on the clock of EventLoop::now_ms().
  void confirm(std::uint64_t valid_until_ms);
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
  std::atomic<std::uint64_t> valid_until_ms_{0};
  Error reason_{ErrorCode::kDisconnected, {}};  // written before is_over_
  std::mutex mutex_;  // guards entries_ and the change of is_over_; EventLoop::post() under it
  std::vector<SharedEntry> entries_;
};

}  // namespace rram
