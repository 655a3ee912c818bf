// The extended attributes of one inode.
#pragma once

#include <boost/container/flat_map.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "fusefs/namespace/namespace_limits.h"
#include "fusefs/namespace/record.h"

namespace rram {

// Accepts user.*, trusted.*, security.* and the two access lists. Who may touch which is the
// kernel's to check.
//   kNotSupported     system.* otherwise, and every unknown prefix
//   kInvalidArgument  nothing behind the prefix, or a NUL in the name
//   kRange            longer than the limit
Status check_xattr_name(std::string_view name, const NamespaceLimits& limits);

// Owned by its inode. Not thread-safe.
class XattrTable {
 public:
  // kNoAttribute. The view is valid until the attribute is next set or removed.
  Result<std::string_view> find(std::string_view name) const;

  // kExists, kNoAttribute (by `mode`), kArgumentTooLarge (the value), kNoSpace (the inode has too
  // much already). Precondition: the name has been checked.
  Status set(std::string_view name, std::string_view value, XattrMode mode,
             const NamespaceLimits& limits);

  // kNoAttribute.
  Status remove(std::string_view name);

  // In the order of names.
  void for_each_name(const std::function<void(std::string_view)>& visit) const;

  // An estimate of the heap taken, this object not included.
  std::uint64_t memory_bytes() const;

 private:
  boost::container::flat_map<std::string, std::string, std::less<>> values_;
  std::uint64_t list_bytes_ = 0;   // sum of (name + 1)
  std::uint64_t total_bytes_ = 0;  // sum of (name + value)
};

}  // namespace rram
