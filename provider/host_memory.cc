#include "provider/host_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <string>

namespace rram {

namespace {

std::optional<std::string> read_text(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.begin(), text.end(), value);
  if (error != std::errc{} || end == text.begin()) return std::nullopt;
  return value;
}

// The path of this process in the unified hierarchy: the line "0::/path" of /proc/self/cgroup.
std::optional<std::string> own_control_group() {
  const std::optional<std::string> groups = read_text("/proc/self/cgroup");
  if (!groups) return std::nullopt;
  std::size_t at = 0;
  while (at < groups->size()) {
    const std::size_t end = std::min(groups->find('\n', at), groups->size());
    const std::string_view line = std::string_view(*groups).substr(at, end - at);
    if (line.starts_with("0::")) return std::string(line.substr(3));
    at = end + 1;
  }
  return std::nullopt;
}

// What the limits of this control group and of those above it leave, or all of 64 bits.
std::uint64_t control_group_bytes() {
  std::uint64_t left_bytes = UINT64_MAX;
  std::optional<std::string> group = own_control_group();
  while (group && group->size() > 1) {
    const std::string folder = "/sys/fs/cgroup" + *group;
    const std::optional<std::string> limit_text = read_text(folder + "/memory.max");
    const std::optional<std::string> used_text = read_text(folder + "/memory.current");
    const auto limit_bytes = parse_number(limit_text.value_or(""));  // "max": no number, no limit
    const auto used_bytes = parse_number(used_text.value_or(""));
    if (limit_bytes && used_bytes) {
      left_bytes = std::min(left_bytes, *limit_bytes - std::min(*limit_bytes, *used_bytes));
    }
    group->resize(group->rfind('/'));
  }
  return left_bytes;
}

}  // namespace

std::optional<std::uint64_t> meminfo_bytes(std::string_view meminfo, std::string_view field) {
  std::size_t at = 0;
  while (at < meminfo.size()) {
    const std::size_t end = std::min(meminfo.find('\n', at), meminfo.size());
    const std::string_view line = meminfo.substr(at, end - at);
    at = end + 1;
    if (!line.starts_with(field) || !line.substr(field.size()).starts_with(':')) continue;
    const std::optional<std::uint64_t> value = parse_number(line.substr(field.size() + 1));
    if (!value) return std::nullopt;
    return line.ends_with(" kB") ? *value * 1024 : *value;
  }
  return std::nullopt;
}

Result<HostMemory> parse_meminfo(std::string_view meminfo) {
  const auto total_bytes = meminfo_bytes(meminfo, "MemTotal");
  const auto available_bytes = meminfo_bytes(meminfo, "MemAvailable");
  if (!total_bytes || !available_bytes) {
    return fail(ErrorCode::kUnavailable, "/proc/meminfo has no MemTotal or no MemAvailable");
  }
  HostMemory host;
  host.total_bytes = *total_bytes;
  host.available_bytes = *available_bytes;
  host.huge_page_bytes = meminfo_bytes(meminfo, "Hugepagesize").value_or(0);
  const std::uint64_t free_pages = meminfo_bytes(meminfo, "HugePages_Free").value_or(0);
  const std::uint64_t reserved_pages = meminfo_bytes(meminfo, "HugePages_Rsvd").value_or(0);
  host.huge_free_bytes = (free_pages - std::min(free_pages, reserved_pages)) * host.huge_page_bytes;
  return host;
}

// "always within_size [advise] never deny force": the one in brackets is in force.
bool makes_huge_pages(std::string_view shmem_enabled) {
  return shmem_enabled.find('[') != std::string_view::npos &&
         shmem_enabled.find("[never]") == std::string_view::npos &&
         shmem_enabled.find("[deny]") == std::string_view::npos;
}

Result<HostMemory> read_host_memory() {
  const std::optional<std::string> meminfo = read_text("/proc/meminfo");
  if (!meminfo) return fail(ErrorCode::kUnavailable, "cannot read /proc/meminfo");
  Result<HostMemory> host = parse_meminfo(*meminfo);
  if (!host) return host;
  host->available_bytes = std::min(host->available_bytes, control_group_bytes());
  host->makes_huge_pages =
      makes_huge_pages(read_text("/sys/kernel/mm/transparent_hugepage/shmem_enabled").value_or(""));
  return host;
}

}  // namespace rram
