// The memory of a lease, mapped into this process from the descriptors that its provider passed.
// Shared by the lease and all its lanes; constant once made, any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/fd.h"
#include "base/mapping.h"
#include "base/result.h"

namespace rram {

class SegmentMap {
 public:
  // One descriptor for each region, in lease order. kProtocol if one is not a file of exactly
  // `region_bytes` that is sealed against shrinking and growing: a file that shrinks under a
  // mapping kills whoever touches it.
  static Result<std::shared_ptr<const SegmentMap>> create(const std::vector<UniqueFd>& descriptors,
                                                          std::uint64_t region_bytes);

  // The memory of region `index`.
  [[nodiscard]] std::span<std::byte> region(std::uint32_t index) const {
    return segments_[index].bytes();
  }

 private:
  explicit SegmentMap(std::vector<Mapping> segments) : segments_(std::move(segments)) {}

  std::vector<Mapping> segments_;
};

}  // namespace rram
