#include "base/size_text.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <optional>

namespace rram {

namespace {

constexpr double kMaxValue = 9.2e18;

struct NumberAndUnit {
  double number = 0;
  std::string_view unit;
};

std::optional<NumberAndUnit> split(std::string_view text) {
  NumberAndUnit out;
  const char* end = text.data() + text.size();
  const auto [rest, error] =
      std::from_chars(text.data(), end, out.number, std::chars_format::fixed);
  if (error != std::errc{} || rest == text.data() || !std::isfinite(out.number) || out.number < 0) {
    return std::nullopt;
  }
  out.unit = std::string_view(rest, static_cast<std::size_t>(end - rest));
  return out;
}

std::optional<double> size_unit_bytes(std::string_view unit) {
  if (unit.empty() || unit == "B") return 1;
  constexpr std::string_view kLetters = "KMGTP";
  std::size_t power = kLetters.find(unit.front());
  if (power == std::string_view::npos) power = std::string_view("kmgtp").find(unit.front());
  const std::string_view rest = unit.substr(1);
  if (power == std::string_view::npos || !(rest.empty() || rest == "B" || rest == "iB")) {
    return std::nullopt;
  }
  return std::ldexp(1.0, static_cast<int>(power + 1) * 10);
}

}  // namespace

Result<std::uint64_t> parse_size_bytes(std::string_view text) {
  const std::optional<NumberAndUnit> parts = split(text);
  const std::optional<double> unit = parts ? size_unit_bytes(parts->unit) : std::nullopt;
  if (!unit) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("'{}' is not a size: write a number and K, M, G or T, as in 14G", text));
  }
  const double value = parts->number * *unit;
  if (value > kMaxValue) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("'{}' is too large a size", text));
  }
  return static_cast<std::uint64_t>(value);
}

Result<std::uint64_t> parse_duration_ms(std::string_view text) {
  const std::optional<NumberAndUnit> parts = split(text);
  double unit_ms = 0;
  if (parts) {
    if (parts->unit.empty() || parts->unit == "s") unit_ms = 1000;
    if (parts->unit == "ms") unit_ms = 1;
    if (parts->unit == "m") unit_ms = 60'000;
  }
  if (unit_ms == 0 || parts->number * unit_ms > 1e12) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("'{}' is not a duration: write a number and ms, s or m, as in 5s", text));
  }
  return static_cast<std::uint64_t>(parts->number * unit_ms);
}

std::string size_text(std::uint64_t size_bytes) {
  constexpr std::array<std::string_view, 6> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(size_bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", size_bytes)
                   : fmt::format("{:.1f} {}", value, kUnits.at(unit));
}

}  // namespace rram
