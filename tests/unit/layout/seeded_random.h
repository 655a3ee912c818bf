// Chance for model tests: a new seed every run, printed, and RRAM_TEST_SEED=N to repeat a run.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <cstdlib>
#include <random>

namespace rram {

class SeededRandom {
 public:
  SeededRandom() : seed_(choose_seed()), engine_(seed_) {
    fmt::print("RRAM_TEST_SEED={}\n", seed_);
  }

  // 0 .. bound - 1; bound > 0.
  unsigned below(std::uint64_t bound) { return static_cast<unsigned>(engine_() % bound); }

 private:
  static std::uint32_t choose_seed() {
    const char* given = std::getenv("RRAM_TEST_SEED");
    return given != nullptr ? static_cast<std::uint32_t>(std::strtoul(given, nullptr, 10))
                            : std::random_device{}();
  }

  std::uint32_t seed_;
  std::mt19937_64 engine_;
};

}  // namespace rram
