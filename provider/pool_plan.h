// How a pool will be cut and from which pages it is made, decided from figures before any memory is
// touched. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace rram {

// What this host has, in bytes.
struct HostMemory {
  std::uint64_t total_bytes = 0;
  // What can be taken without swapping: MemAvailable, or less where a control group allows less.
  std::uint64_t available_bytes = 0;
  std::uint64_t huge_page_bytes = 0;  // size of one huge page; 0: the kernel has none
  std::uint64_t huge_free_bytes = 0;  // huge pages that are reserved for nobody
  // Whether the kernel makes huge pages of a memfd's ordinary ones where it is asked to.
  bool makes_huge_pages = false;
};

enum class HugePages : std::uint8_t {
  kAuto,  // where the host has enough free ones
  kOn,    // or refuse
  kOff,
};

constexpr std::uint64_t kMinSegmentBytes = std::uint64_t{2} << 20;
constexpr std::uint64_t kMaxSegmentBytes = std::uint64_t{1} << 30;

struct PoolPlan {
  std::uint64_t segment_bytes = 0;  // a power of two, kMinSegmentBytes to kMaxSegmentBytes
  std::uint32_t segment_count = 0;
  bool huge_pages = false;
  std::uint64_t page_bytes = 4096;
  std::string note;        // what is not exactly as asked, or empty
  std::string pages_note;  // from which pages it is made, and why

  [[nodiscard]] std::uint64_t size_bytes() const { return segment_bytes * segment_count; }
};

// Memory that stays with the host however much is asked for.
std::uint64_t host_floor_bytes(const HostMemory& host);

// Cuts `wanted_bytes` into segments, rounded down to whole ones. Errors: kInvalidArgument (too
// small, too large), kUnavailable (the host does not have it); the message has the figures and the
// remedy.
Result<PoolPlan> plan_pool(std::uint64_t wanted_bytes, HugePages huge_pages,
                           const HostMemory& host);

// While a pool of ordinary pages is being pinned, which others' programs do not wait for: whether
// this host can give it `bytes` more now. Without this the kernel would kill something first.
// Error: kUnavailable, with the figures and the remedy.
Status check_room(std::uint64_t bytes, const HostMemory& host);

}  // namespace rram
