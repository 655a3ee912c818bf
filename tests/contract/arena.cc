#include "tests/contract/arena.h"

#include <memory_resource>

#include "base/mapping.h"

namespace rram::test {

namespace {

constexpr std::size_t kArenaBytes = std::size_t{512} << 20;
constexpr std::size_t kAlignment = 64;

struct Arena {
  Mapping memory = Mapping::anonymous(kArenaBytes, false).value();
  std::pmr::monotonic_buffer_resource whole{memory.data(), memory.size_bytes(),
                                            std::pmr::null_memory_resource()};
  std::pmr::synchronized_pool_resource pool{
      {.max_blocks_per_chunk = 1, .largest_required_pool_block = std::size_t{8} << 20}, &whole};
};

Arena& the_arena() {
  static Arena arena;
  return arena;
}

}  // namespace

std::span<std::byte> arena() { return the_arena().memory.bytes(); }

void* allocate_in_arena(std::size_t size_bytes) {
  return the_arena().pool.allocate(size_bytes, kAlignment);
}

void free_in_arena(void* memory, std::size_t size_bytes) {
  the_arena().pool.deallocate(memory, size_bytes, kAlignment);
}

}  // namespace rram::test
