// What the layout costs per request: computing only, no I/O. Each range is chosen anew, so that a
// large file's map is read from where it lies and not from the cache.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "fusefs/layout/file_blocks.h"
#include "fusefs/layout/quarantine.h"
#include "fusefs/layout/space.h"

namespace {

using rram::BlockList;
using rram::FileBlocks;
using rram::Geometry;
using rram::ReadPlan;
using rram::Space;
using rram::WritePlan;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30U;

// One file of file_bytes, written, on eight providers.
struct Volume {
  explicit Volume(std::uint64_t file_bytes)
      : space(Geometry::make(rram::kDefaultStripeUnitBytes).value()) {
    for (unsigned provider = 0; provider < 8; ++provider) {
      if (!space.add_lease(provider, 64 * kMiB, file_bytes / 8 / (64 * kMiB) + 2)) {
        std::abort();
      }
    }
    for (std::uint64_t offset = 0; offset < file_bytes; offset += kMiB) {
      if (!file.plan_write(offset, kMiB, space, write_plan)) {
        std::abort();
      }
      file.commit_write(write_plan, space);
    }
  }

  Space space;
  FileBlocks file;
  WritePlan write_plan;
  ReadPlan read_plan;
};

// Ranges of that length at offsets that are multiples of it, in an order that looks like chance.
class Ranges {
 public:
  Ranges(std::uint64_t file_bytes, std::uint64_t length_bytes)
      : count_(file_bytes / length_bytes), length_bytes_(length_bytes) {}
  std::uint64_t next_offset() {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return (state_ >> 33U) % count_ * length_bytes_;
  }

 private:
  std::uint64_t count_;
  std::uint64_t length_bytes_;
  std::uint64_t state_ = 1;
};

void plan_read(benchmark::State& state) {
  const auto length = static_cast<std::uint64_t>(state.range(0));
  const auto file_bytes = static_cast<std::uint64_t>(state.range(1)) * kGiB;
  Volume volume(file_bytes);
  Ranges ranges(file_bytes, length);
  for (auto _ : state) {
    volume.file.plan_read(ranges.next_offset(), length, volume.space, volume.read_plan);
    benchmark::DoNotOptimize(volume.read_plan.pieces.data());
  }
}

void plan_and_commit_overwrite(benchmark::State& state) {
  const auto length = static_cast<std::uint64_t>(state.range(0));
  const auto file_bytes = static_cast<std::uint64_t>(state.range(1)) * kGiB;
  Volume volume(file_bytes);
  Ranges ranges(file_bytes, length);
  for (auto _ : state) {
    const std::uint64_t offset = ranges.next_offset();
    benchmark::DoNotOptimize(
        volume.file.write_needs_move(offset, length, volume.space) ||
        volume.file.write_needs_fill(offset, length, volume.space) ||
        !volume.file.plan_write(offset, length, volume.space, volume.write_plan));
    volume.file.commit_write(volume.write_plan, volume.space);
  }
}

// A file that grows to 1 GiB by writes of that length, again and again.
void plan_and_commit_append(benchmark::State& state) {
  const auto length = static_cast<std::uint64_t>(state.range(0));
  Volume volume(kGiB);
  BlockList freed;
  const auto restart = [&] {
    freed.clear();
    volume.file.clear(volume.space.geometry(), freed);
    for (const rram::Block block : freed) {
      volume.space.free(block);
    }
    freed.clear();
  };
  std::uint64_t offset = kGiB;
  for (auto _ : state) {
    if (offset == kGiB) {
      state.PauseTiming();
      restart();
      offset = 0;
      state.ResumeTiming();
    }
    benchmark::DoNotOptimize(
        volume.file.plan_write(offset, length, volume.space, volume.write_plan).has_value());
    volume.file.commit_moves(volume.write_plan, freed);
    volume.file.commit_write(volume.write_plan, volume.space);
    offset += length;
  }
}

void allocate_and_free(benchmark::State& state) {
  const auto order = static_cast<unsigned>(state.range(0));
  Space space(Geometry::make(rram::kDefaultStripeUnitBytes).value());
  for (unsigned provider = 0; provider < 8; ++provider) {
    if (!space.add_lease(provider, kGiB, 256)) {
      std::abort();
    }
  }
  std::uint64_t slot = 0;
  for (auto _ : state) {
    space.free(*space.allocate(order, 0, slot++));
  }
}

void quarantine_round(benchmark::State& state) {
  rram::Quarantine quarantine(Geometry::make(rram::kDefaultStripeUnitBytes).value());
  std::vector<rram::Block> safe;
  auto older = quarantine.begin_io();
  for (auto _ : state) {
    const auto newer = quarantine.begin_io();
    quarantine.retire(rram::Block(0, 0, 1));
    quarantine.end_io(older);
    safe.clear();
    quarantine.collect(safe);
    older = newer;
  }
  quarantine.end_io(older);
}

BENCHMARK(plan_read)->ArgNames({"bytes", "file_gib"})->ArgsProduct({{4096, 1 << 20}, {1, 64, 512}});
BENCHMARK(plan_and_commit_overwrite)
    ->ArgNames({"bytes", "file_gib"})
    ->ArgsProduct({{4096, 1 << 20}, {1, 64, 512}});
BENCHMARK(plan_and_commit_append)->ArgName("bytes")->Arg(4096)->Arg(128 << 10)->Arg(1 << 20);
BENCHMARK(allocate_and_free)->ArgName("order")->Arg(0)->Arg(3)->Arg(6);
BENCHMARK(quarantine_round);

}  // namespace

BENCHMARK_MAIN();
