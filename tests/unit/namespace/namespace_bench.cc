// What one call of the namespace costs, in directories of the given number of entries.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "fusefs/namespace/namespace.h"

namespace rram {
namespace {

std::vector<std::string> make_file_names(std::int64_t count) {
  std::vector<std::string> result;
  result.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    result.push_back("file-" + std::to_string(1'000'000 + i));
  }
  return result;
}

void fill(Namespace& names, const std::vector<std::string>& files) {
  for (const std::string& file : files) {
    benchmark::DoNotOptimize(
        names.apply(Create{.parent = kRootIno, .name = file, .mode = S_IFREG | 0644}));
  }
}

// Names in random order: the caches see what a real tree of this size would show them.
std::vector<std::string> shuffled(std::vector<std::string> files) {
  std::shuffle(files.begin(), files.end(), std::mt19937(1));
  return files;
}

void lookup(benchmark::State& state) {
  Namespace names(NamespaceLimits{}, RootAttributes{}, 1);
  const auto files = make_file_names(state.range(0));
  fill(names, files);
  const auto order = shuffled(files);
  std::size_t next = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(names.lookup(kRootIno, order[next]));
    next = next + 1 == order.size() ? 0 : next + 1;
  }
}
BENCHMARK(lookup)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);

void lookup_of_nothing(benchmark::State& state) {
  Namespace names(NamespaceLimits{}, RootAttributes{}, 1);
  fill(names, make_file_names(state.range(0)));
  for (auto _ : state) {
    benchmark::DoNotOptimize(names.lookup(kRootIno, "not-there"));
  }
}
BENCHMARK(lookup_of_nothing)->Arg(1'000'000);

void attributes(benchmark::State& state) {
  Namespace names(NamespaceLimits{}, RootAttributes{}, 1);
  fill(names, make_file_names(state.range(0)));
  std::minstd_rand random(1);
  const auto count = static_cast<Ino>(state.range(0));
  for (auto _ : state) {
    benchmark::DoNotOptimize(names.attributes(kRootIno + 1 + random() % count));
  }
}
BENCHMARK(attributes)->Arg(1'000)->Arg(1'000'000);

void extend(benchmark::State& state) {
  Namespace names(NamespaceLimits{}, RootAttributes{}, 1);
  fill(names, make_file_names(1'000));
  std::minstd_rand random(1);
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        names.apply(Extend{.ino = kRootIno + 1 + random() % 1'000, .size_bytes = 4096}));
  }
}
BENCHMARK(extend);

// Fills one directory with so many files, the growth of its tables included.
void create(benchmark::State& state) {
  const auto files = make_file_names(state.range(0));
  for (auto _ : state) {
    state.PauseTiming();
    auto names = std::make_unique<Namespace>(NamespaceLimits{}, RootAttributes{}, 1);
    state.ResumeTiming();
    fill(*names, files);
    state.PauseTiming();
    names.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(create)->Arg(1'000)->Arg(100'000)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

void unlink(benchmark::State& state) {
  const auto files = make_file_names(state.range(0));
  const auto order = shuffled(files);
  for (auto _ : state) {
    state.PauseTiming();
    auto names = std::make_unique<Namespace>(NamespaceLimits{}, RootAttributes{}, 1);
    fill(*names, files);
    state.ResumeTiming();
    for (const std::string& file : order) {
      benchmark::DoNotOptimize(names->apply(Unlink{.parent = kRootIno, .name = file}));
    }
    state.PauseTiming();
    names.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(unlink)->Arg(1'000)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

void read_directory(benchmark::State& state) {
  Namespace names(NamespaceLimits{}, RootAttributes{}, 1);
  fill(names, make_file_names(state.range(0)));
  for (auto _ : state) {
    std::uint64_t bytes = 0;
    benchmark::DoNotOptimize(names.read_directory(kRootIno, 0, [&](const DirectoryItem& item) {
      bytes += item.name.size();
      return true;
    }));
    benchmark::DoNotOptimize(bytes);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(read_directory)->Arg(1'000)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

// The longest single create: a table that doubles moves all its slots under the volume's lock.
void longest_create(benchmark::State& state) {
  const auto files = make_file_names(state.range(0));
  double longest_us = 0;
  for (auto _ : state) {
    Namespace names(NamespaceLimits{}, RootAttributes{}, 1);
    for (const std::string& file : files) {
      const auto start = std::chrono::steady_clock::now();
      benchmark::DoNotOptimize(
          names.apply(Create{.parent = kRootIno, .name = file, .mode = S_IFREG}));
      const std::chrono::duration<double, std::micro> took =
          std::chrono::steady_clock::now() - start;
      longest_us = std::max(longest_us, took.count());
    }
  }
  state.counters["longest_us"] = longest_us;
}
BENCHMARK(longest_create)->Arg(1'000'000)->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace rram

BENCHMARK_MAIN();
