// Sizes as people write them: "4096", "14G", "1.5T"; K M G T are powers of 1024.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace rram {

// Bytes. kInvalidArgument with a sentence that quotes the text if it is no size, or over 2^63.
Result<std::uint64_t> parse_size_bytes(std::string_view text);

// Milliseconds from "5s", "500ms", "2m", or a plain number of seconds (which may have a fraction).
Result<std::uint64_t> parse_duration_ms(std::string_view text);

// "3.0 GiB", "512 KiB", "17 B".
std::string size_text(std::uint64_t size_bytes);

}  // namespace rram
