// The memory budgets, counted at the heap.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "fusefs/layout/file_blocks.h"
#include "fusefs/layout/lease_allocator.h"
#include "fusefs/layout/space.h"

// Counted here and not by mallinfo2(), which takes what a thread keeps for reuse for used.
static std::uint64_t live_heap_bytes = 0;
static constexpr std::uint64_t kMallocHeaderBytes = 8;

void* operator new(std::size_t size) {
  void* memory = std::malloc(size);
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  live_heap_bytes += malloc_usable_size(memory) + kMallocHeaderBytes;
  return memory;
}

void operator delete(void* memory) noexcept {
  if (memory != nullptr) {
    live_heap_bytes -= malloc_usable_size(memory) + kMallocHeaderBytes;
    std::free(memory);
  }
}

void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }

namespace rram {
namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;
constexpr std::uint64_t kGiB = 1024 * kMiB;

std::uint64_t heap_bytes() { return live_heap_bytes; }

class LayoutMemory : public ::testing::Test {
 protected:
  void write(FileBlocks& file, std::uint64_t offset, std::uint64_t length) {
    ASSERT_TRUE(file.plan_write(offset, length, space, plan));
    file.commit_moves(plan, freed);
    file.commit_write(plan, space);
    for (const Block block : freed) {
      space.free(block);
    }
    freed.clear();
  }

  Geometry geometry = Geometry::make(kDefaultStripeUnitBytes).value();
  Space space{geometry};
  WritePlan plan;
  BlockList freed;
};

TEST_F(LayoutMemory, free_lease_costs_less_than_8_kib_per_gib) {
  const std::uint64_t before = heap_bytes();
  const LeaseAllocator allocator(geometry, 64 * kGiB / kDefaultStripeUnitBytes);
  const std::uint64_t per_gib = (heap_bytes() - before) / 64;
  fmt::print("free lease: {} bytes per GiB\n", per_gib);
  EXPECT_LE(per_gib, 8 * kKiB);
  EXPECT_EQ(allocator.free_granules() * 4096, 64 * kGiB);
}

TEST_F(LayoutMemory, carved_lease_stays_modest) {
  const std::uint64_t units = 4 * kGiB / kDefaultStripeUnitBytes;
  const std::uint64_t before = heap_bytes();
  LeaseAllocator allocator(geometry, units);
  for (std::uint64_t granule = 0; granule < units * 64; ++granule) {
    ASSERT_TRUE(allocator.allocate(0));
  }
  for (std::uint64_t granule = 0; granule < units * 64; granule += 2) {
    allocator.free({granule, 0});
  }
  const std::uint64_t per_gib = (heap_bytes() - before) / 4;
  fmt::print("lease with a hole in every second granule: {} bytes per GiB\n", per_gib);
  EXPECT_LE(per_gib, 192 * kKiB);
}

TEST_F(LayoutMemory, file_of_one_block_costs_40_bytes) {
  ASSERT_TRUE(space.add_lease(0, kGiB, 1));
  auto file = std::make_unique<FileBlocks>();
  write(*file, 0, 100 * kKiB);  // the space's own first allocations
  file->clear(geometry, freed);
  freed.clear();
  const std::uint64_t before = heap_bytes();
  write(*file, 0, 100 * kKiB);
  EXPECT_EQ(heap_bytes(), before);
  EXPECT_LE(sizeof(FileBlocks), 40U);
}

TEST_F(LayoutMemory, large_file_costs_less_than_80_kib_per_gib) {
  ASSERT_TRUE(space.add_lease(0, kGiB, 4));
  ASSERT_TRUE(space.add_lease(1, kGiB, 4));
  FileBlocks file;
  write(file, 0, kMiB);
  const std::uint64_t before = heap_bytes();
  for (std::uint64_t offset = kMiB; offset < 4 * kGiB + kMiB; offset += 128 * kKiB) {
    write(file, offset, 128 * kKiB);
  }
  const std::uint64_t per_gib = (heap_bytes() - before) / 4;
  fmt::print("large file: {} bytes per GiB, {} per slot\n", per_gib, per_gib / 4096);
  EXPECT_LE(per_gib, 80 * kKiB);
}

TEST_F(LayoutMemory, sparse_file_costs_what_it_holds) {
  ASSERT_TRUE(space.add_lease(0, kGiB, 1));
  FileBlocks file;
  write(file, 0, 1);
  const std::uint64_t before = heap_bytes();
  write(file, std::uint64_t{16} << 40U, 4096);
  fmt::print("one far write: {} bytes\n", heap_bytes() - before);
  EXPECT_LE(heap_bytes() - before, 400U);
}

TEST_F(LayoutMemory, file_of_one_mebibyte_is_small) {
  ASSERT_TRUE(space.add_lease(0, kGiB, 2));
  FileBlocks warm;
  write(warm, 0, 2 * kMiB);
  const std::uint64_t file_count = 1000;
  std::vector<FileBlocks> files(file_count);
  const std::uint64_t before = heap_bytes();
  for (FileBlocks& file : files) {
    write(file, 0, kMiB);
  }
  const std::uint64_t per_file = (heap_bytes() - before) / file_count + sizeof(FileBlocks);
  fmt::print("file of 1 MiB: {} bytes\n", per_file);
  EXPECT_LE(per_file, 400U);
}

// The estimate that a limit is held against, and the heap.
class SlotMapMemory : public ::testing::Test {
 protected:
  void expect_good_estimate() const {
    const std::uint64_t real = heap_bytes() - before;
    EXPECT_LE(map->memory_bytes(), real + real / 8 + 256);
    EXPECT_GE(map->memory_bytes() + real / 8 + 256, real);
  }

  std::uint64_t before = heap_bytes() + sizeof(SlotMap) + kMallocHeaderBytes;
  std::unique_ptr<SlotMap> map = std::make_unique<SlotMap>();
};

TEST_F(SlotMapMemory, of_a_dense_file_of_a_sparse_one_and_of_one_in_pieces_is_known) {
  expect_good_estimate();
  for (std::uint64_t slot = 0; slot < 10'000; ++slot) {
    map->obtain(slot, Block(0, 0, slot));
  }
  expect_good_estimate();
  for (std::uint64_t slot = 20'000; slot < 1'000'000'000; slot += 100'000) {
    map->obtain(slot, Block(0, 0, 1));
  }
  expect_good_estimate();
  for (std::uint64_t slot = 0; slot < 5'000; slot += 7) {
    map->split(slot);
  }
  expect_good_estimate();
}

TEST_F(SlotMapMemory, that_is_erased_comes_back) {
  for (std::uint64_t slot = 1; slot < 100'000; ++slot) {
    map->obtain(slot, Block(0, 0, slot));
  }
  const std::uint64_t full = map->memory_bytes();
  for (std::uint64_t slot = 1; slot < 100'000; ++slot) {
    if (slot % 64 != 0) map->erase(slot);
  }
  expect_good_estimate();
  EXPECT_LT(map->memory_bytes(), full / 4);
  for (std::uint64_t slot = 64; slot < 100'000; slot += 64) {
    map->erase(slot);
  }
  EXPECT_EQ(map->memory_bytes(), 0U);
  expect_good_estimate();
}

TEST_F(LayoutMemory, steady_state_allocates_nothing) {
  ASSERT_TRUE(space.add_lease(0, 64 * kMiB, 1));
  ASSERT_TRUE(space.add_lease(1, 64 * kMiB, 1));
  FileBlocks file;
  ReadPlan read_plan;
  write(file, 0, 32 * kMiB);
  const auto pass = [&] {
    for (std::uint64_t offset = 0; offset + kMiB <= 32 * kMiB; offset += 300'000) {
      write(file, offset, kMiB);
      file.plan_read(offset, kMiB, space, read_plan);
    }
  };
  pass();
  const std::uint64_t before = heap_bytes();
  pass();
  EXPECT_EQ(heap_bytes(), before);
}

}  // namespace
}  // namespace rram
