// What the unit tests of the namespace share: a namespace, a clock that ticks with each change, and
// short ways to say a change.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fusefs/namespace/namespace.h"

namespace rram {

// The code of an error, or nothing for a success.
template <typename T>
std::optional<ErrorCode> error_of(const Result<T>& result) {
  return result ? std::nullopt : std::optional(result.error().code);
}

class NamespaceTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kGeneration = 7;

  // A new instant, later than all before.
  Timestamp tick() { return {.seconds = ++now_seconds_, .nanoseconds = 5}; }
  Timestamp now() const { return {.seconds = now_seconds_, .nanoseconds = 5}; }

  Result<Outcome> create(Ino parent, std::string name, std::uint32_t mode) {
    return names().apply(Create{.parent = parent,
                                .name = std::move(name),
                                .mode = mode,
                                .uid = 10,
                                .gid = 20,
                                .at = tick()});
  }
  Result<Outcome> make_symlink(Ino parent, std::string name, std::string target) {
    return names().apply(Create{.parent = parent,
                                .name = std::move(name),
                                .mode = S_IFLNK,
                                .symlink_target = std::move(target),
                                .at = tick()});
  }
  Result<Outcome> link(Ino ino, Ino parent, std::string name) {
    return names().apply(
        Link{.ino = ino, .new_parent = parent, .new_name = std::move(name), .at = tick()});
  }
  Result<Outcome> unlink(Ino parent, std::string name) {
    return names().apply(Unlink{.parent = parent, .name = std::move(name), .at = tick()});
  }
  Result<Outcome> remove_directory(Ino parent, std::string name) {
    return names().apply(RemoveDirectory{.parent = parent, .name = std::move(name), .at = tick()});
  }
  Result<Outcome> rename(Ino old_parent, std::string old_name, Ino new_parent, std::string new_name,
                         RenameMode mode = RenameMode::kReplace) {
    return names().apply(Rename{.old_parent = old_parent,
                                .old_name = std::move(old_name),
                                .new_parent = new_parent,
                                .new_name = std::move(new_name),
                                .mode = mode,
                                .at = tick()});
  }

  // These must succeed; they return the new inode.
  Ino file(Ino parent, std::string name) {
    return made(create(parent, std::move(name), S_IFREG | 0644));
  }
  Ino directory(Ino parent, std::string name) {
    return made(create(parent, std::move(name), S_IFDIR | 0755));
  }

  // Of an inode that must exist.
  Attributes stat(Ino ino) const {
    const auto attributes = names().attributes(ino);
    EXPECT_TRUE(attributes.has_value()) << "inode " << ino;
    return attributes.value_or(Attributes{});
  }
  // What a name means; 0 if nothing.
  Ino ino_of(Ino parent, std::string_view name) const {
    return names().lookup(parent, name).value_or(Attributes{}).ino;
  }
  bool exists(Ino ino) const { return names().attributes(ino).has_value(); }

  // The names in a directory, "." and ".." left out.
  std::vector<std::string> list(Ino ino) const {
    std::vector<std::string> found;
    EXPECT_TRUE(names().read_directory(ino, kDotDotCookie, [&](const DirectoryItem& item) {
      found.emplace_back(item.name);
      return true;
    }));
    return found;
  }

  // Starts again, empty, with other limits.
  void restart(const NamespaceLimits& limits) {
    names_.emplace(limits, RootAttributes{.at = now()}, kGeneration);
  }

  Namespace& names() { return *names_; }
  const Namespace& names() const { return *names_; }

 private:
  static Ino made(const Result<Outcome>& outcome) {
    EXPECT_TRUE(outcome.has_value());
    return outcome ? outcome->attributes.ino : 0;
  }

  std::int64_t now_seconds_ = 1000;
  std::optional<Namespace> names_{std::in_place, NamespaceLimits{},
                                  RootAttributes{.at = {.seconds = 1000, .nanoseconds = 5}},
                                  kGeneration};
};

}  // namespace rram
