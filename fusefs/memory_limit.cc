#include "fusefs/memory_limit.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string_view>

namespace rram {

namespace {

// The path of the own group below the root of all, "/a/b"; "/" where there is none.
std::filesystem::path own_group(const std::string& file) {
  constexpr std::string_view kVersion2 = "0::";
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(kVersion2)) return line.substr(kVersion2.size());
  }
  return "/";
}

// "max", or no such file, as at the root: no limit.
std::uint64_t limit_of(const std::filesystem::path& group) {
  std::ifstream file(group / "memory.max");
  std::uint64_t limit_bytes = 0;
  return file >> limit_bytes ? limit_bytes : UINT64_MAX;
}

}  // namespace

std::uint64_t memory_limit_bytes(std::uint64_t host_bytes, const MemoryLimitFiles& files) {
  const std::filesystem::path own = own_group(files.own_group);
  std::filesystem::path group = files.groups;
  std::uint64_t limit_bytes = std::min(host_bytes, limit_of(group));
  for (const std::filesystem::path& name : own.relative_path()) {
    group /= name;
    limit_bytes = std::min(limit_bytes, limit_of(group));
  }
  return limit_bytes;
}

}  // namespace rram
