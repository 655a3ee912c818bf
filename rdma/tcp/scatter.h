// Copies of payload that do not go through the kernel: what came with other bytes, or in a record.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <span>

namespace rram {

// Two lanes may write to the same bytes one after the other; the requester orders that by awaiting
// replies, which the thread sanitizer does not see.
void place(std::byte* target, std::span<const std::byte> payload);

// Places the front of `bytes`, as much as `places` have room for; returns how much.
std::size_t scatter(std::span<const std::byte> bytes, std::span<const iovec> places);

}  // namespace rram
