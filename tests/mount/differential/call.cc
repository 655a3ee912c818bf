#include "tests/mount/differential/call.h"

#include <cerrno>
#include <cstring>

namespace rram::differential {

namespace {
constexpr std::uint64_t kNames = 6;
}  // namespace

std::string Call::name() {
  const std::uint64_t rare = chance.below(200);
  if (rare == 0) return std::string(255, 'l');
  if (rare == 1) return std::string(256, 'm');
  if (rare == 2) return ".";
  if (rare == 3) return "..";
  return std::string(1, static_cast<char>('a' + chance.below(kNames)));
}

std::string Call::path() {
  // Short paths often: what stands near the root is met more.
  const std::uint64_t depth = 1 + std::min(chance.below(3), chance.below(3));
  std::string path = chance.one_in(50) ? "/" : "";
  for (std::uint64_t i = 0; i < depth; ++i) path += (i == 0 ? "" : "/") + name();
  if (chance.one_in(60)) path += "/";
  if (chance.one_in(500)) path.clear();
  touched_paths.push_back(path);
  return path;
}

int& Call::handle() {
  const std::uint64_t slot = chance.below(kHandles);
  say("[{}]", slot);
  touched_handles.push_back(static_cast<int>(slot));
  return side.handles.at(slot);
}

int Call::some_of(std::initializer_list<int> flags, std::uint64_t n) {
  int chosen = 0;
  for (const int flag : flags) chosen |= chance.one_in(n) ? flag : 0;
  return chosen;
}

mode_t Call::mode() {
  const auto random = static_cast<mode_t>(chance.below(010000));
  return pick<mode_t>({0644, 0755, 0777, 0700, 0600, 0000, 02755, 04755, 01777, 06777, random});
}

std::uint64_t Call::offset() {
  constexpr std::uint64_t kUnit = std::uint64_t{256} << 10;
  switch (chance.below(8)) {
    case 0:
      return 0;
    case 1:
      return 4096 * chance.below(8);
    case 2:
      return kUnit - chance.below(5000);
    case 3:
      return chance.below(2 * kUnit);
    case 4:
      return chance.one_in(8) ? (std::uint64_t{1} << chance.between(31, 43)) - chance.below(5) : 1;
    default:
      return chance.below(20000);
  }
}

std::uint64_t Call::length() {
  switch (chance.below(8)) {
    case 0:
      return 0;
    case 1:
      return 4096 * chance.between(1, 8);
    case 2:
      return chance.below(100000);
    default:
      return chance.between(1, 9000);
  }
}

void Call::answer(long result) {
  const int error = errno;
  outcome = result >= 0 ? fmt::format("{}", result) : strerrorname_np(error);
}

}  // namespace rram::differential
