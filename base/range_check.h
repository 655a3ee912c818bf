// The one range check. It subtracts, so that no sum can wrap.
#pragma once

#include <cstdint>

namespace rram {

// True if [offset, offset + length) lies inside [0, size). All in the same unit.
constexpr bool range_is_inside(std::uint64_t offset, std::uint64_t length, std::uint64_t size) {
  return offset <= size && length <= size - offset;
}

}  // namespace rram
