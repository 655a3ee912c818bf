#include "provider/pool_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <string_view>

#include "base/size_text.h"
#include "rdma/wire/frames.h"

namespace rram {

namespace {

// A pool has about 64 to 128 segments: small enough to share it out well, few enough to name all of
// them in one frame. Only pools beyond 128 GiB have more, because a segment has an upper bound.
constexpr std::uint64_t kAimedSegments = 64;
constexpr std::uint64_t kMinHostFloorBytes = std::uint64_t{256} << 20;
constexpr std::uint64_t kMaxHostFloorBytes = std::uint64_t{4} << 30;
constexpr std::uint64_t kHostFloorShare = 64;

static_assert(kMinSegmentBytes >= kMinRegionBytes && kMaxSegmentBytes <= kMaxRegionBytes);

Status check_normal_pages(std::uint64_t size_bytes, const HostMemory& host) {
  const std::uint64_t floor_bytes = host_floor_bytes(host);
  const std::uint64_t lendable_bytes =
      host.available_bytes - std::min(host.available_bytes, floor_bytes);
  if (size_bytes <= lendable_bytes) return {};
  return fail(ErrorCode::kUnavailable,
              fmt::format("cannot lend {}: this host has {} of memory available, and {} of it stay "
                          "with the host; the most that --size can be now is {}M",
                          size_text(size_bytes), size_text(host.available_bytes),
                          size_text(floor_bytes), lendable_bytes >> 20));
}

Status check_huge_pages(const PoolPlan& plan, const HostMemory& host) {
  if (host.huge_page_bytes == 0) {
    return fail(ErrorCode::kUnavailable, "this kernel has no huge pages");
  }
  if (plan.segment_bytes % host.huge_page_bytes != 0) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("huge pages here are {} and do not fit segments of {}, which "
                            "a larger --size makes larger",
                            size_text(host.huge_page_bytes), size_text(plan.segment_bytes)));
  }
  if (plan.size_bytes() > host.huge_free_bytes) {
    return fail(
        ErrorCode::kUnavailable,
        fmt::format("{} of huge pages are free and {} are needed; reserve them with `sysctl "
                    "vm.nr_hugepages={}` (then no other program may take them)",
                    size_text(host.huge_free_bytes), size_text(plan.size_bytes()),
                    plan.size_bytes() / host.huge_page_bytes));
  }
  return {};
}

std::string pages_note(const PoolPlan& plan, const HostMemory& host, std::string_view why_not) {
  if (plan.huge_pages) {
    return fmt::format("the pool is made of reserved huge pages of {}", size_text(plan.page_bytes));
  }
  const std::string_view ordinary =
      host.makes_huge_pages ? "the kernel makes huge pages of them where it can"
                            : "the kernel makes no huge pages of them: `echo advise "
                              ">/sys/kernel/mm/transparent_hugepage/shmem_enabled` lets it";
  return fmt::format("the pool is made of pages of {}, {}{}{}", size_text(plan.page_bytes),
                     ordinary, why_not.empty() ? "" : "; not of reserved huge pages: ", why_not);
}

}  // namespace

std::uint64_t host_floor_bytes(const HostMemory& host) {
  return std::clamp(host.total_bytes / kHostFloorShare, kMinHostFloorBytes, kMaxHostFloorBytes);
}

Result<PoolPlan> plan_pool(std::uint64_t wanted_bytes, HugePages huge_pages,
                           const HostMemory& host) {
  if (wanted_bytes < kMinSegmentBytes) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("a pool of {} is too small; the least is {}", size_text(wanted_bytes),
                            size_text(kMinSegmentBytes)));
  }
  PoolPlan plan;
  plan.segment_bytes =
      std::clamp(std::bit_floor(wanted_bytes / kAimedSegments), kMinSegmentBytes, kMaxSegmentBytes);
  const std::uint64_t segment_count = wanted_bytes / plan.segment_bytes;
  if (segment_count > kMaxRegionsPerLease) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("a pool of {} is too large; the most is {}", size_text(wanted_bytes),
                            size_text(kMaxRegionsPerLease * plan.segment_bytes)));
  }
  plan.segment_count = static_cast<std::uint32_t>(segment_count);
  if (plan.size_bytes() != wanted_bytes) {
    plan.note = fmt::format("{} rounded down to {} segments of {}: {} bytes less",
                            size_text(wanted_bytes), plan.segment_count,
                            size_text(plan.segment_bytes), wanted_bytes - plan.size_bytes());
  }
  std::string why_not;
  if (huge_pages != HugePages::kOff) {
    const Status huge = check_huge_pages(plan, host);
    if (huge) {
      plan.huge_pages = true;
      plan.page_bytes = host.huge_page_bytes;
      plan.pages_note = pages_note(plan, host, {});
      return plan;
    }
    why_not = huge.error().message;
    if (huge_pages == HugePages::kOn) {
      return fail(huge.error().code, why_not + "; --hugepages auto takes ordinary pages then");
    }
  }
  const Status normal = check_normal_pages(plan.size_bytes(), host);
  if (!normal) return std::unexpected(normal.error());
  plan.pages_note = pages_note(plan, host, why_not);
  return plan;
}

// Half of the floor is left to whatever the host has begun since the plan was made.
Status check_room(std::uint64_t bytes, const HostMemory& host) {
  const std::uint64_t kept_bytes = host_floor_bytes(host) / 2;
  if (host.available_bytes >= kept_bytes && bytes <= host.available_bytes - kept_bytes) return {};
  return fail(
      ErrorCode::kUnavailable,
      fmt::format("cannot get {} more of memory for the pool: this host has {} available "
                  "now, and {} of it stay with the host; lend less with --size, or stop "
                  "what took the memory",
                  size_text(bytes), size_text(host.available_bytes), size_text(kept_bytes)));
}

}  // namespace rram
