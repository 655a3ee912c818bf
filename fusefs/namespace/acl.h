// POSIX access control lists (acl(5)), as values: what one says, and what becomes of it when its
// file's mode changes or something is created below its directory. The rules are Linux's
// (fs/posix_acl.c), so that a file comes out as on any other local file system.
#pragma once

#include <boost/container/small_vector.hpp>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace rram {

// The extended attributes that lists are kept in. Their values are the kernel's own
// (linux/posix_acl_xattr.h): a version, and eight bytes an entry.
inline constexpr std::string_view kAccessAclName = "system.posix_acl_access";
inline constexpr std::string_view kDefaultAclName = "system.posix_acl_default";

constexpr bool is_acl_name(std::string_view name) {
  return name == kAccessAclName || name == kDefaultAclName;
}

// Always a list that acl_valid(3) accepts: owner, named users, group, named groups, mask, others,
// in this order, with a mask wherever somebody is named.
class Acl {
 public:
  // kNotSupported: another version; kInvalidArgument: no such list.
  static Result<Acl> parse(std::string_view value);
  [[nodiscard]] std::string value() const;

  // The nine bits that stat(2) shows for it: the mask stands where the group's would.
  [[nodiscard]] std::uint32_t mode_bits() const;
  // Those bits say all that the list says: it need not be kept.
  [[nodiscard]] bool is_minimal() const;

  // chmod(2): the entries that the mode shows become what it says.
  void set_mode_bits(std::uint32_t mode);

  // For a new file with the default list of its directory: takes from each of the two what the
  // other does not grant. Returns the mode, its other bits unchanged.
  std::uint32_t restrict_to(std::uint32_t mode);

 private:
  struct Entry {
    std::uint16_t tag;
    std::uint16_t permissions;  // rwx
    std::uint32_t id;           // of a named user or group
  };

  [[nodiscard]] bool is_valid() const;
  Entry* find(std::uint16_t tag);
  // What the group bits of the mode stand for.
  Entry& group_class();

  boost::container::small_vector<Entry, 6> entries_;
};

}  // namespace rram
