#include "fusefs/provider_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <optional>

namespace rram {

namespace {

// More than a number of hosts has; what follows from it stays short.
constexpr std::size_t kMaxRangeDigits = 16;

std::unexpected<Error> bad_range(std::string_view text) {
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("'{}' is not a range of hosts: write node[01-13] or node[1,4-6]", text));
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

std::optional<unsigned> parse_number(std::string_view digits) {
  unsigned value = 0;
  const char* end = digits.data() + digits.size();
  const auto [rest, error] = std::from_chars(digits.data(), end, value);
  if (error != std::errc{} || rest != end) return std::nullopt;
  return value;
}

std::unexpected<Error> too_many_hosts(std::string_view text) {
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("'{}' names more than {} hosts", text, kMaxListedProviders));
}

// One item of a range, "4" or "01-13"; a leading zero keeps the width.
Status expand_item(std::string_view item, std::string_view whole, std::vector<std::string>& out) {
  const std::size_t dash = item.find('-');
  const std::string_view first_text = item.substr(0, dash);
  const std::string_view last_text =
      dash == std::string_view::npos ? first_text : item.substr(dash + 1);
  const std::optional<unsigned> first = parse_number(first_text);
  const std::optional<unsigned> last = parse_number(last_text);
  if (!first || !last || *last < *first || first_text.size() > kMaxRangeDigits) {
    return bad_range(whole);
  }
  if (*last - *first >= kMaxListedProviders - out.size()) return too_many_hosts(whole);
  const std::size_t width = first_text.starts_with('0') ? first_text.size() : 0;
  for (std::uint64_t number = *first; number <= *last; ++number) {
    out.push_back(fmt::format("{:0{}}", number, width));
  }
  return {};
}

// Each of the names with each of the numbers behind it.
std::vector<std::string> combine(const std::vector<std::string>& names,
                                 const std::vector<std::string>& numbers) {
  std::vector<std::string> combined;
  combined.reserve(names.size() * numbers.size());
  for (const std::string& name : names) {
    for (const std::string& number : numbers) combined.push_back(name + number);
  }
  return combined;
}

// The addresses of one provider, between slashes, count together: each name has one of each.
Result<std::vector<std::string>> expand_provider(std::string_view text) {
  if (text.starts_with("unix:")) return expand_range(text);
  constexpr std::string_view kSchemeEnd = "://";
  const std::size_t scheme_end = text.find(kSchemeEnd);
  const std::size_t begin =
      scheme_end == std::string_view::npos ? 0 : scheme_end + kSchemeEnd.size();
  std::vector<std::string> names;
  for (const std::string_view part : split(text.substr(begin), '/')) {
    const Result<std::vector<std::string>> hosts = expand_range(part);
    if (!hosts) return hosts;
    if (names.empty()) {
      for (const std::string& host : *hosts) {
        names.push_back(fmt::format("{}{}", text.substr(0, begin), host));
      }
      continue;
    }
    if (hosts->size() != names.size()) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("'{}': the ranges on both sides of '/', addresses of the same hosts, "
                              "are of {} and {}",
                              text, names.size(), hosts->size()));
    }
    for (std::size_t i = 0; i < names.size(); ++i) names[i] += "/" + (*hosts)[i];
  }
  return names;
}

Status add_one(std::string_view text, std::vector<Endpoint>& providers) {
  const Result<std::vector<std::string>> names = expand_provider(text);
  if (!names) return std::unexpected(names.error());
  for (const std::string& name : *names) {
    Result<Endpoint> endpoint = parse_endpoint(name);
    if (!endpoint) return std::unexpected(endpoint.error());
    const bool is_pool = endpoint->scheme == Endpoint::Scheme::kLocal;
    if (!is_pool && std::ranges::find(providers, *endpoint) != providers.end()) {
      return fail(ErrorCode::kInvalidArgument, fmt::format("provider {} is named twice", name));
    }
    if (providers.size() == kMaxListedProviders) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("more than {} providers", kMaxListedProviders));
    }
    providers.push_back(std::move(*endpoint));
  }
  return {};
}

Status add_file(const std::string& path, std::vector<Endpoint>& providers) {
  std::ifstream file(path);
  if (!file) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("cannot read the provider list {}: {}", path, std::strerror(errno)));
  }
  std::string line;
  while (std::getline(file, line)) {
    const std::string_view text = trim(std::string_view(line).substr(0, line.find('#')));
    if (text.empty()) continue;
    if (text.starts_with('@')) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}: a provider list cannot name another one ({})", path, text));
    }
    if (Status status = add_providers(text, providers); !status) return status;
  }
  return {};
}

}  // namespace

// From left to right, so that a text with many brackets costs no stack.
Result<std::vector<std::string>> expand_range(std::string_view text) {
  std::vector<std::string> names{""};
  std::string_view rest = text;
  for (;;) {
    const std::size_t open = rest.find('[');
    const std::size_t close = rest.find(']', open == std::string_view::npos ? 0 : open);
    const bool is_open = open != std::string_view::npos;
    if (is_open && close == std::string_view::npos) return bad_range(text);
    const std::string_view inside = is_open ? rest.substr(open + 1, close - open - 1) : "";
    // An IPv6 address has colons; a range has not.
    const bool is_range = is_open && !inside.contains(':');
    for (std::string& name : names) name += is_range ? rest.substr(0, open) : rest;
    if (!is_range) return names;
    std::vector<std::string> numbers;
    for (const std::string_view item : split(inside, ',')) {
      if (Status status = expand_item(item, text, numbers); !status) {
        return std::unexpected(status.error());
      }
    }
    if (names.size() * numbers.size() > kMaxListedProviders) return too_many_hosts(text);
    names = combine(names, numbers);
    rest.remove_prefix(close + 1);
  }
}

Status add_providers(std::string_view text, std::vector<Endpoint>& providers) {
  for (const std::string_view part : split(text, '+')) {
    const std::string_view name = trim(part);
    const Status status = name.starts_with('@') ? add_file(std::string(name.substr(1)), providers)
                                                : add_one(name, providers);
    if (!status) return status;
  }
  return {};
}

}  // namespace rram
