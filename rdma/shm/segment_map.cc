#include "rdma/shm/segment_map.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

namespace rram {

namespace {

Status check_descriptor(int fd, std::uint64_t region_bytes, std::size_t index) {
  struct stat about{};
  if (::fstat(fd, &about) != 0) return fail_errno(errno, "cannot look at a passed descriptor");
  if (!S_ISREG(about.st_mode) || std::cmp_not_equal(about.st_size, region_bytes)) {
    return fail(
        ErrorCode::kProtocol,
        fmt::format("the descriptor of region {} is not a file of {} bytes (mode {:o}, size "
                    "{})",
                    index, region_bytes, about.st_mode, about.st_size));
  }
  const int seals = ::fcntl(fd, F_GET_SEALS);
  constexpr int kNeeded = F_SEAL_SHRINK | F_SEAL_GROW;
  if (seals < 0 || (seals & kNeeded) != kNeeded) {
    return fail(ErrorCode::kProtocol,
                fmt::format("the descriptor of region {} is not sealed against shrinking and "
                            "growing",
                            index));
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<const SegmentMap>> SegmentMap::create(
    const std::vector<UniqueFd>& descriptors, std::uint64_t region_bytes) {
  std::vector<Mapping> segments;
  segments.reserve(descriptors.size());
  for (const UniqueFd& descriptor : descriptors) {
    if (Status status = check_descriptor(descriptor.get(), region_bytes, segments.size());
        !status) {
      return std::unexpected(status.error());
    }
    Result<Mapping> segment = Mapping::shared(descriptor.get(), region_bytes);
    if (!segment) return std::unexpected(segment.error());
    segments.push_back(std::move(*segment));
  }
  return std::shared_ptr<const SegmentMap>(new SegmentMap(std::move(segments)));
}

}  // namespace rram
