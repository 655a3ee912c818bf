// What the tests of pool, scrubber and lease keeper share.
#pragma once

#include <gtest/gtest.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/null_sink.h>

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "provider/pool.h"

namespace rram::test {

constexpr std::uint64_t kSegmentBytes = std::uint64_t{2} << 20;

inline bool is_zero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

inline std::shared_ptr<spdlog::logger> silent_log() {
  return std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::null_sink_mt>());
}

// Tests need no right to lock memory.
inline std::unique_ptr<Pool> make_pool(std::uint32_t segment_count) {
  PoolPlan plan;
  plan.segment_bytes = kSegmentBytes;
  plan.segment_count = segment_count;
  PoolOptions options;
  options.lock_memory = false;
  Result<std::unique_ptr<Pool>> pool = Pool::create(plan, options);
  EXPECT_TRUE(pool) << pool.error().message;
  return std::move(*pool);
}

// What several threads did, in the order in which they did it; a test waits for it without
// sleeping.
class Diary {
 public:
  void write(std::string entry) {
    const std::lock_guard lock(mutex_);
    entries_.push_back(std::move(entry));
    changed_.notify_all();
  }
  // Returns when there are that many entries.
  std::vector<std::string> wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return entries_.size() >= count; });
    return entries_;
  }
  // Returns when `entry` is there.
  void wait_for(const std::string& entry) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return std::ranges::find(entries_, entry) != entries_.end(); });
  }
  [[nodiscard]] std::vector<std::string> entries() const {
    const std::lock_guard lock(mutex_);
    return entries_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> entries_;
};

}  // namespace rram::test
