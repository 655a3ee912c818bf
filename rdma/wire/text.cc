#include "rdma/wire/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/locale/utf.hpp>
#include <cstdint>

namespace rram {

namespace {

namespace utf = boost::locale::utf;

// The length in bytes of the printable character at the front of `text`, or 0 if there is none.
std::size_t printable_prefix_bytes(std::string_view text) {
  const char* at = text.data();
  const utf::code_point point =
      utf::utf_traits<char>::decode(at, text.data() + text.size());  // moves `at`
  if (point == utf::illegal || point == utf::incomplete) {
    return 0;
  }
  const bool control = point < 0x20 || (point >= 0x7F && point <= 0x9F);
  const bool line_break = point == 0x2028 || point == 0x2029;
  const bool reorders = point == 0x200E || point == 0x200F ||
                        (point >= 0x202A && point <= 0x202E) ||
                        (point >= 0x2066 && point <= 0x2069);
  if (control || line_break || reorders) {
    return 0;
  }
  return static_cast<std::size_t>(at - text.data());
}

}  // namespace

Status check_printable(std::string_view text, std::string_view what) {
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t bytes = printable_prefix_bytes(text.substr(at));
    if (bytes == 0) {
      return fail(ErrorCode::kProtocol,
                  fmt::format("{} has byte 0x{:02x} at {}, which is not printable UTF-8", what,
                              static_cast<std::uint8_t>(text[at]), at));
    }
    at += bytes;
  }
  return {};
}

std::string printable(std::string_view text, std::size_t max_bytes) {
  std::string result;
  result.reserve(std::min(text.size(), max_bytes));
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t bytes = printable_prefix_bytes(text.substr(at));
    const std::string_view piece = bytes == 0 ? std::string_view("?") : text.substr(at, bytes);
    if (piece.size() > max_bytes - result.size()) {
      break;
    }
    result += piece;
    at += std::max<std::size_t>(bytes, 1);
  }
  return result;
}

std::string_view name_view(const WireName& name) {
  const auto* end = std::find(name.begin(), name.end(), '\0');
  return {name.data(), static_cast<std::size_t>(end - name.begin())};
}

WireName make_name(std::string_view text) {
  std::string name = printable(text, sizeof(WireName) - 1);
  if (name.empty()) {
    name = "?";
  }
  WireName result{};
  std::copy(name.begin(), name.end(), result.begin());
  return result;
}

Status check_name(const WireName& name, std::string_view what) {
  const std::string_view text = name_view(name);
  if (text.empty()) {
    return fail(ErrorCode::kProtocol, fmt::format("{} is empty", what));
  }
  if (text.size() == name.size()) {
    return fail(ErrorCode::kProtocol, fmt::format("{} has no NUL at its end", what));
  }
  if (!std::all_of(name.begin() + text.size(), name.end(), [](char c) { return c == '\0'; })) {
    return fail(ErrorCode::kProtocol, fmt::format("{} has bytes after its NUL", what));
  }
  return check_printable(text, what);
}

}  // namespace rram
