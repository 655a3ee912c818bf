#include "rdma/local/local_lease.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <fstream>
#include <optional>
#include <utility>

#include "base/size_text.h"
#include "rdma/local/local_lane.h"

namespace rram {

namespace {

constexpr std::uint64_t kMinRegionSizeBytes = std::uint64_t{2} << 20;
constexpr std::uint64_t kMaxRegionSizeBytes = std::uint64_t{1} << 30;
constexpr std::uint64_t kUsualRegions = 64;
constexpr std::uint64_t kMaxLocalBytes = std::uint64_t{1} << 50;

std::uint64_t region_size_for(std::uint64_t size_bytes) {
  const std::uint64_t even_share =
      std::bit_floor(std::max<std::uint64_t>(size_bytes / kUsualRegions, 1));
  return std::clamp(even_share, kMinRegionSizeBytes, kMaxRegionSizeBytes);
}

// What the host can give without swapping; nothing if it does not say.
std::optional<std::uint64_t> available_memory_bytes() {
  std::ifstream meminfo("/proc/meminfo");
  std::string word;
  while (meminfo >> word) {
    std::uint64_t value_kib = 0;
    if (word == "MemAvailable:" && meminfo >> value_kib) return value_kib * 1024;
  }
  return std::nullopt;
}

Result<Mapping> map_pool(std::uint64_t size_bytes) {
  const std::optional<std::uint64_t> available_bytes = available_memory_bytes();
  if (available_bytes && size_bytes > *available_bytes) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("this host has {} of memory available, not {}: ask for less",
                            size_text(*available_bytes), size_text(size_bytes)));
  }
  return Mapping::anonymous(size_bytes, false);
}

}  // namespace

Result<std::unique_ptr<HeldLease>> LocalLease::create(const Endpoint& endpoint,
                                                      std::uint64_t wanted_bytes) {
  assert(endpoint.scheme == Endpoint::Scheme::kLocal || endpoint.scheme == Endpoint::Scheme::kNull);
  if (wanted_bytes > endpoint.size_bytes) {
    return fail(ErrorCode::kNoSpace, fmt::format("{} is smaller than the {} that are wanted",
                                                 endpoint_text(endpoint), size_text(wanted_bytes)));
  }
  if (endpoint.size_bytes > kMaxLocalBytes) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("{} is more than {}", endpoint_text(endpoint), size_text(kMaxLocalBytes)));
  }
  const std::uint64_t asked_bytes = wanted_bytes == 0 ? endpoint.size_bytes : wanted_bytes;
  const std::uint64_t region_bytes = region_size_for(asked_bytes);
  std::vector<RemoteRegion> regions((asked_bytes + region_bytes - 1) / region_bytes);
  for (std::uint32_t index = 0; RemoteRegion & region : regions) {
    region.index = index++;
    region.length_bytes = region_bytes;
  }
  Mapping memory;
  if (endpoint.scheme == Endpoint::Scheme::kLocal) {
    Result<Mapping> mapped = map_pool(regions.size() * region_bytes);
    if (!mapped) {
      return fail(mapped.error().code,
                  fmt::format("{}: {}", endpoint_text(endpoint), mapped.error().message));
    }
    memory = std::move(*mapped);
  }
  return std::unique_ptr<HeldLease>(
      new LocalLease(endpoint, std::move(memory), std::move(regions)));
}

LocalLease::LocalLease(const Endpoint& endpoint, Mapping memory, std::vector<RemoteRegion> regions)
    : endpoint_(endpoint), memory_(std::move(memory)), regions_(std::move(regions)) {}

std::string_view LocalLease::transport_name() const { return memory_ ? "local" : "null"; }

Task<Result<std::unique_ptr<Lane>>> LocalLease::open_lane(EventLoop& loop, std::uint64_t /*lane*/,
                                                          TimeLimit /*limit*/) {
  co_return std::make_unique<LocalLane>(loop, memory_.bytes());
}

Task<Status> LocalLease::reconnect(std::uint64_t /*timeout_ms*/) { co_return Status{}; }

Task<> LocalLease::release(std::uint64_t /*timeout_ms*/) { co_return; }

}  // namespace rram
