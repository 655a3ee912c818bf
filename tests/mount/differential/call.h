// One random system call of the differential test: what it draws, what it says, what came of it.
//
// A call draws everything from its own Chance, which depends on the seed and its number only, and
// never on what the file system answered: so both sides do the same calls without a word between
// them.
#pragma once

#include <fmt/format.h>

#include <array>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/mount/chance.h"

namespace rram::differential {

using exerciser::Chance;

inline constexpr std::size_t kHandles = 6;

// One side: a process that stands in the root of the directory under test (chroot), and its
// handles.
struct Side {
  std::array<int, kHandles> handles{};
  Side() { handles.fill(-1); }
};

class Call {
 public:
  Call(Side& on_side, std::uint64_t seed, std::uint64_t number)
      : chance(exerciser::mix(seed, number)), side(on_side) {}

  // --- Drawing -----------------------------------------------------------------------------------

  // A path of a few names out of few, so that calls meet; its state is reported after the call.
  std::string path();
  // A handle; perhaps a closed one.
  int& handle();
  template <typename T>
  T pick(std::initializer_list<T> values) {
    return *(values.begin() + chance.below(values.size()));
  }
  // Each of the flags with a chance of one in `n`.
  int some_of(std::initializer_list<int> flags, std::uint64_t n = 4);
  mode_t mode();
  std::uint64_t offset();
  std::uint64_t length();

  // --- Reporting ---------------------------------------------------------------------------------

  template <typename... Args>
  void say(fmt::format_string<Args...> format, Args&&... args) {
    words += fmt::format(format, std::forward<Args>(args)...);
  }
  // What the system call returned; takes errno.
  void answer(long result);
  template <typename... Args>
  void detail(fmt::format_string<Args...> format, Args&&... args) {
    details += " " + fmt::format(format, std::forward<Args>(args)...);
  }

  Chance chance;
  Side& side;
  std::string words;    // the call with its arguments
  std::string outcome;  // result and errno
  std::string details;  // what it returned besides
  std::vector<std::string> touched_paths;
  std::vector<int> touched_handles;

 private:
  std::string name();
};

struct CallKind {
  std::string_view name;
  unsigned weight;
  void (*run)(Call&);
};

// The kinds of calls, each in the file of its name.
std::span<const CallKind> name_calls();
std::span<const CallKind> data_calls();
std::span<const CallKind> attribute_calls();

}  // namespace rram::differential
