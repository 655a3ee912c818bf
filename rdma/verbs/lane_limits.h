// What a lane's queue pair is made for.
#pragma once

#include <cstddef>

namespace rram {

// Work under way at once on one lane: the ring entries of one worker, a few stripe units each. More
// waits its turn in the lane.
inline constexpr unsigned kLaneSendEntries = 256;
// Writes up to this size leave with their request instead of being fetched by the device.
inline constexpr unsigned kLaneInlineBytes = 128;

}  // namespace rram
