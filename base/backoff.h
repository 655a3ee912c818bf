// Growing pauses between attempts, which end early when the work is no longer wanted.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/event_loop.h"
#include "base/gate.h"
#include "base/task.h"

namespace rram {

class Backoff {
 public:
  // Pauses of first_ms, twice that, ..., last_ms at most.
  constexpr Backoff(std::uint64_t first_ms, std::uint64_t last_ms)
      : next_ms_(first_ms), last_ms_(last_ms) {}

  // Sleeps for the next pause, or until shortly after `gate` has closed.
  Task<> pause(EventLoop& loop, const Gate& gate) {
    const std::uint64_t end_ns = loop.now_ns() + next_ms_ * 1'000'000;
    next_ms_ = std::min(next_ms_ * 2, last_ms_);
    while (!gate.is_closed() && loop.now_ns() < end_ns) {
      const std::uint64_t left_ms = (end_ns - loop.now_ns()) / 1'000'000 + 1;
      co_await loop.sleep_ms(std::min(left_ms, kLookAgainMs));
    }
  }

 private:
  static constexpr std::uint64_t kLookAgainMs = 50;

  std::uint64_t next_ms_;
  std::uint64_t last_ms_;
};

}  // namespace rram
