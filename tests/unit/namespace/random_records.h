// Random changes, good and bad, for the tests that compare whole histories. The same seed and the
// same inodes give the same records.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "fusefs/namespace/namespace_limits.h"
#include "fusefs/namespace/record.h"

namespace rram {

// Limits so tight that random changes run into each of them.
NamespaceLimits tight_limits();

class RandomRecords {
 public:
  explicit RandomRecords(std::uint64_t seed) : random_(seed) {}

  // The inodes that the next records are about; records about others are made too, but seldom.
  void set_inodes(std::vector<Ino> directories, std::vector<Ino> others) {
    directories_ = std::move(directories);
    others_ = std::move(others);
  }

  Record next();

  // An inode, of any kind, that exists or does not.
  Ino any_inode();

  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }

 private:
  bool one_in(std::uint64_t count) { return below(count) == 0; }
  Ino parent();
  std::string name();
  std::string xattr_name();
  std::uint32_t mode();
  Timestamp instant();
  Create create();
  CreateUnnamed create_unnamed();
  Rename rename();
  SetAttributes set_attributes();
  SetXattr set_xattr();

  std::mt19937_64 random_;
  std::vector<Ino> directories_{kRootIno};
  std::vector<Ino> others_;
  std::int64_t now_seconds_ = 0;
};

}  // namespace rram
