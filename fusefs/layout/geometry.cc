#include "fusefs/layout/geometry.h"

#include <fmt/format.h>

#include <algorithm>

namespace rram {

Result<Geometry> Geometry::make(std::uint64_t stripe_unit_bytes) {
  if (!std::has_single_bit(stripe_unit_bytes) || stripe_unit_bytes < kMinStripeUnitBytes ||
      stripe_unit_bytes > kMaxStripeUnitBytes) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the stripe unit is {} bytes; it must be a power of two from {} to {}",
                            stripe_unit_bytes, kMinStripeUnitBytes, kMaxStripeUnitBytes));
  }
  const std::uint64_t granule_bytes =
      std::max(kMinGranuleBytes, stripe_unit_bytes / kMaxGranulesPerUnit);
  return Geometry(static_cast<unsigned>(std::countr_zero(stripe_unit_bytes)),
                  static_cast<unsigned>(std::countr_zero(granule_bytes)));
}

}  // namespace rram
