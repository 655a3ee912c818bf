// The fixed measures of a volume: how a file is cut into slots and a slot into granules.
#pragma once

#include <bit>
#include <cassert>
#include <cstdint>

#include "base/result.h"

namespace rram {

// The granule is the unit of allocation and of "written or not"; a slot's granules fit one mask.
inline constexpr std::uint64_t kMinGranuleBytes = 4096;
inline constexpr unsigned kMaxGranulesPerUnit = 64;
inline constexpr unsigned kMaxOrder = 6;
inline constexpr std::uint64_t kMinStripeUnitBytes = 16 * 1024;
inline constexpr std::uint64_t kMaxStripeUnitBytes = 4 * 1024 * 1024;
inline constexpr std::uint64_t kDefaultStripeUnitBytes = 256 * 1024;
// File offsets are off_t: sums of an offset and a length below this cannot wrap.
inline constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 63U;

static_assert(1U << kMaxOrder == kMaxGranulesPerUnit);

// A value; equal for the life of a volume. A slot is one stripe unit of a file; slot n holds the
// bytes [n * stripe_unit_bytes, (n + 1) * stripe_unit_bytes). A block of order k has 2^k granules.
class Geometry {
 public:
  // kInvalidArgument unless the unit is a power of two from 16 KiB to 4 MiB.
  static Result<Geometry> make(std::uint64_t stripe_unit_bytes);

  std::uint64_t stripe_unit_bytes() const { return std::uint64_t{1} << unit_shift_; }
  std::uint64_t granule_bytes() const { return std::uint64_t{1} << granule_shift_; }
  unsigned max_order() const { return unit_shift_ - granule_shift_; }
  unsigned granules_per_unit() const { return 1U << max_order(); }

  std::uint64_t slot_of(std::uint64_t offset) const { return offset >> unit_shift_; }
  std::uint64_t slot_start(std::uint64_t slot) const { return slot << unit_shift_; }
  // Which granule of its slot the byte lies in.
  unsigned granule_in_slot(std::uint64_t offset) const {
    return static_cast<unsigned>(offset_in_slot(offset) >> granule_shift_);
  }
  std::uint64_t offset_in_slot(std::uint64_t offset) const {
    return offset & (stripe_unit_bytes() - 1);
  }
  std::uint64_t offset_in_granule(std::uint64_t offset) const {
    return offset & (granule_bytes() - 1);
  }
  std::uint64_t granule_floor(std::uint64_t offset) const {
    return offset - offset_in_granule(offset);
  }
  std::uint64_t granule_ceil(std::uint64_t offset) const {
    return granule_floor(offset + granule_bytes() - 1);
  }
  std::uint64_t granules_to_bytes(std::uint64_t granules) const {
    return granules << granule_shift_;
  }
  std::uint64_t bytes_to_granules(std::uint64_t bytes) const { return bytes >> granule_shift_; }

  // The smallest order whose block has at least that many granules (1 .. granules_per_unit).
  unsigned order_for(unsigned granules) const {
    assert(granules >= 1 && granules <= granules_per_unit());
    return static_cast<unsigned>(std::bit_width(granules - 1));
  }

 private:
  Geometry(unsigned unit_shift, unsigned granule_shift)
      : unit_shift_(unit_shift), granule_shift_(granule_shift) {}

  unsigned unit_shift_;
  unsigned granule_shift_;
};

// The bits [begin, end) of a slot's mask; 0 <= begin <= end <= 64.
constexpr std::uint64_t granule_mask(unsigned begin, unsigned end) {
  const std::uint64_t below_end = end >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << end) - 1;
  return begin >= 64 ? 0 : below_end & ~((std::uint64_t{1} << begin) - 1);
}

}  // namespace rram
