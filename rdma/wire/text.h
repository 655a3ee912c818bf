// Text in frames: what a peer may put into a log line or an error message of ours.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.h"
#include "rdma/wire/frames.h"

namespace rram {

// Checks that `text` is valid UTF-8 without control characters and without the characters that
// reorder or break a line (a log line must look like what it says). `what` names the field in the
// reason. Errors: kProtocol.
Status check_printable(std::string_view text, std::string_view what);

// `text` made printable: each byte that does not fit becomes '?', and it is cut at a character
// boundary to at most `max_bytes` bytes.
std::string printable(std::string_view text, std::size_t max_bytes);

// The name as text, without its NULs. For a WireName that was checked or made here.
std::string_view name_view(const WireName& name);

// `text` as a name: made printable, cut to 63 bytes; "?" if nothing is left.
WireName make_name(std::string_view text);

// Checks a name from the wire: 1 to 63 printable bytes, then only NULs. Errors: kProtocol.
Status check_name(const WireName& name, std::string_view what);

}  // namespace rram
