#include "base/task.h"

#include <array>
#include <new>

// The address sanitizer must see every frame die: no pool under it.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RRAM_POOL_FRAMES 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define RRAM_POOL_FRAMES 0
#endif
#endif
#ifndef RRAM_POOL_FRAMES
#define RRAM_POOL_FRAMES 1
#endif

namespace rram {

namespace {

constexpr std::size_t kClassBytes = 256;
constexpr std::size_t kClasses = 32;  // frames up to 8 KiB; larger ones are rare and go to malloc
constexpr std::size_t kKeptPerClass = 256;

struct FreeFrame {
  FreeFrame* next;
};

// Free frames of one thread by size class.
class FramePool {
 public:
  FramePool() = default;
  FramePool(const FramePool&) = delete;
  FramePool& operator=(const FramePool&) = delete;
  ~FramePool() {
    for (FreeFrame*& head : free_) {
      while (head != nullptr) ::operator delete(std::exchange(head, head->next));
    }
  }

  void* take(std::size_t size_class) {
    FreeFrame*& head = free_.at(size_class);
    if (head == nullptr) return ::operator new((size_class + 1) * kClassBytes);
    --kept_.at(size_class);
    return std::exchange(head, head->next);
  }

  void give(void* frame, std::size_t size_class) {
    if (kept_.at(size_class) == kKeptPerClass) {
      ::operator delete(frame);
      return;
    }
    ++kept_.at(size_class);
    free_.at(size_class) = ::new (frame) FreeFrame{free_.at(size_class)};
  }

 private:
  std::array<FreeFrame*, kClasses> free_{};
  std::array<std::size_t, kClasses> kept_{};
};

FramePool& frame_pool() {
  thread_local FramePool pool;
  return pool;
}

constexpr bool is_pooled(std::size_t size_bytes) {
  return RRAM_POOL_FRAMES != 0 && size_bytes <= kClasses * kClassBytes;
}

}  // namespace

void* allocate_frame(std::size_t size_bytes) {
  if (!is_pooled(size_bytes)) return ::operator new(size_bytes);
  return frame_pool().take((size_bytes - 1) / kClassBytes);
}

void free_frame(void* frame, std::size_t size_bytes) {
  if (!is_pooled(size_bytes)) {
    ::operator delete(frame);
    return;
  }
  frame_pool().give(frame, (size_bytes - 1) / kClassBytes);
}

}  // namespace rram
