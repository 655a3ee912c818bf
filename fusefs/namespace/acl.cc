#include "fusefs/namespace/acl.h"

#include <endian.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

#include <algorithm>
#include <cstring>

namespace rram {

namespace {

constexpr std::uint32_t kRwx = 7;
constexpr unsigned kOwnerShift = 6;
constexpr unsigned kGroupShift = 3;
constexpr std::uint32_t kModeBits = 0777;

// Where in a list an entry of this kind stands; 0: there is no such kind.
unsigned rank_of(std::uint16_t tag) {
  switch (tag) {
    case ACL_USER_OBJ:
      return 1;
    case ACL_USER:
      return 2;
    case ACL_GROUP_OBJ:
      return 3;
    case ACL_GROUP:
      return 4;
    case ACL_MASK:
      return 5;
    case ACL_OTHER:
      return 6;
    default:
      return 0;
  }
}

bool is_named(std::uint16_t tag) { return tag == ACL_USER || tag == ACL_GROUP; }

}  // namespace

Result<Acl> Acl::parse(std::string_view value) {
  posix_acl_xattr_header header{};
  posix_acl_xattr_entry entry{};
  if (value.size() < sizeof header || (value.size() - sizeof header) % sizeof entry != 0) {
    return fail(ErrorCode::kInvalidArgument);
  }
  std::memcpy(&header, value.data(), sizeof header);
  if (le32toh(header.a_version) != POSIX_ACL_XATTR_VERSION) return fail(ErrorCode::kNotSupported);
  Acl acl;
  for (std::size_t at = sizeof header; at < value.size(); at += sizeof entry) {
    std::memcpy(&entry, value.data() + at, sizeof entry);
    acl.entries_.push_back({.tag = le16toh(entry.e_tag),
                            .permissions = le16toh(entry.e_perm),
                            .id = le32toh(entry.e_id)});
  }
  if (!acl.is_valid()) return fail(ErrorCode::kInvalidArgument);
  return acl;
}

std::string Acl::value() const {
  const posix_acl_xattr_header header{.a_version = htole32(POSIX_ACL_XATTR_VERSION)};
  std::string value(reinterpret_cast<const char*>(&header), sizeof header);
  for (const Entry& entry : entries_) {
    const posix_acl_xattr_entry out{.e_tag = htole16(entry.tag),
                                    .e_perm = htole16(entry.permissions),
                                    .e_id = htole32(entry.id)};
    value.append(reinterpret_cast<const char*>(&out), sizeof out);
  }
  return value;
}

bool Acl::is_valid() const {
  unsigned last_rank = 0;
  bool names_somebody = false;
  bool has_mask = false;
  unsigned single_entries = 0;
  for (const Entry& entry : entries_) {
    const unsigned rank = rank_of(entry.tag);
    const bool may_repeat = is_named(entry.tag) && rank == last_rank;
    if (rank == 0 || entry.permissions > kRwx || (rank <= last_rank && !may_repeat)) return false;
    last_rank = rank;
    names_somebody = names_somebody || is_named(entry.tag);
    has_mask = has_mask || entry.tag == ACL_MASK;
    single_entries += is_named(entry.tag) || entry.tag == ACL_MASK ? 0 : 1;
  }
  constexpr unsigned kOwnerGroupOther = 3;
  return single_entries == kOwnerGroupOther && (has_mask || !names_somebody);
}

Acl::Entry* Acl::find(std::uint16_t tag) {
  const auto found = std::ranges::find(entries_, tag, &Entry::tag);
  return found == entries_.end() ? nullptr : &*found;
}

Acl::Entry& Acl::group_class() {
  Entry* mask = find(ACL_MASK);
  return mask != nullptr ? *mask : *find(ACL_GROUP_OBJ);
}

std::uint32_t Acl::mode_bits() const {
  Acl& self = const_cast<Acl&>(*this);  // NOLINT: find() changes nothing
  return static_cast<std::uint32_t>(self.find(ACL_USER_OBJ)->permissions << kOwnerShift |
                                    self.group_class().permissions << kGroupShift |
                                    self.find(ACL_OTHER)->permissions);
}

bool Acl::is_minimal() const {
  return std::ranges::none_of(
      entries_, [](const Entry& entry) { return is_named(entry.tag) || entry.tag == ACL_MASK; });
}

void Acl::set_mode_bits(std::uint32_t mode) {
  find(ACL_USER_OBJ)->permissions = static_cast<std::uint16_t>(mode >> kOwnerShift & kRwx);
  group_class().permissions = static_cast<std::uint16_t>(mode >> kGroupShift & kRwx);
  find(ACL_OTHER)->permissions = static_cast<std::uint16_t>(mode & kRwx);
}

std::uint32_t Acl::restrict_to(std::uint32_t mode) {
  set_mode_bits(mode & mode_bits());
  return (mode & ~kModeBits) | mode_bits();
}

}  // namespace rram
