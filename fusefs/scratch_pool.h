// A few buffers of one size for what must pass through the requester's memory (a block that moves);
// who finds none free waits. Owned by a worker, on its thread.
#pragma once

#include <coroutine>
#include <cstddef>
#include <deque>
#include <span>
#include <utility>
#include <vector>

namespace rram {

class ScratchPool {
 public:
  // A buffer for as long as this lives.
  class Buffer {
   public:
    Buffer(ScratchPool& pool, std::span<std::byte> bytes) : pool_(&pool), bytes_(bytes) {}
    Buffer(Buffer&& other) noexcept
        : pool_(std::exchange(other.pool_, nullptr)), bytes_(other.bytes_) {}
    Buffer& operator=(Buffer&&) = delete;
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() {
      if (pool_ != nullptr) pool_->give_back(bytes_);
    }
    [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }

   private:
    ScratchPool* pool_;
    std::span<std::byte> bytes_;
  };

  class Awaiter {
   public:
    explicit Awaiter(ScratchPool& pool) : pool_(pool) {}
    bool await_ready() noexcept {
      if (pool_.free_.empty()) return false;
      bytes_ = pool_.free_.back();
      pool_.free_.pop_back();
      return true;
    }
    void await_suspend(std::coroutine_handle<> awaiter) {
      awaiter_ = awaiter;
      pool_.waiting_.push_back(this);
    }
    Buffer await_resume() noexcept { return {pool_, bytes_}; }

   private:
    friend class ScratchPool;
    ScratchPool& pool_;
    std::coroutine_handle<> awaiter_;
    std::span<std::byte> bytes_;
  };

  // Cuts `room` into buffers of `buffer_bytes`.
  void add_room(std::span<std::byte> room, std::size_t buffer_bytes) {
    for (std::size_t at = 0; at + buffer_bytes <= room.size(); at += buffer_bytes) {
      free_.push_back(room.subspan(at, buffer_bytes));
    }
  }

  // `ScratchPool::Buffer buffer = co_await pool.take();`
  Awaiter take() { return Awaiter(*this); }

 private:
  void give_back(std::span<std::byte> bytes) {
    if (waiting_.empty()) {
      free_.push_back(bytes);
      return;
    }
    Awaiter* next = waiting_.front();
    waiting_.pop_front();
    next->bytes_ = bytes;
    next->awaiter_.resume();
  }

  std::vector<std::span<std::byte>> free_;
  std::deque<Awaiter*> waiting_;
};

}  // namespace rram
