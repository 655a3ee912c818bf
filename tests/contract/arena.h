// Buffers of tests lie in one arena, as the contract asks: a transport that must register memory
// (verbs) is told of it once for each lane.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace rram::test {

// All memory that Bytes are made of.
std::span<std::byte> arena();

void* allocate_in_arena(std::size_t size_bytes);
void free_in_arena(void* memory, std::size_t size_bytes);

template <typename T>
struct ArenaAllocator {
  using value_type = T;
  ArenaAllocator() = default;
  template <typename U>
  explicit ArenaAllocator(const ArenaAllocator<U>& /*other*/) {}
  static T* allocate(std::size_t count) {
    return static_cast<T*>(allocate_in_arena(count * sizeof(T)));
  }
  static void deallocate(T* memory, std::size_t count) { free_in_arena(memory, count * sizeof(T)); }
  friend bool operator==(const ArenaAllocator&, const ArenaAllocator&) = default;
};

using Bytes = std::vector<std::byte, ArenaAllocator<std::byte>>;

}  // namespace rram::test
