#include "fusefs/namespace/xattr.h"

#include <array>

#include "base/range_check.h"
#include "fusefs/namespace/acl.h"

namespace rram {

Status check_xattr_name(std::string_view name, const NamespaceLimits& limits) {
  constexpr std::array<std::string_view, 3> kPrefixes{"user.", "trusted.", "security."};
  if (name.size() > limits.max_xattr_name_bytes) {
    return fail(ErrorCode::kRange);
  }
  if (is_acl_name(name)) return {};
  for (const std::string_view prefix : kPrefixes) {
    if (name.starts_with(prefix)) {
      if (name.size() == prefix.size() || name.find('\0') != std::string_view::npos) {
        return fail(ErrorCode::kInvalidArgument);
      }
      return {};
    }
  }
  return fail(ErrorCode::kNotSupported);
}

Result<std::string_view> XattrTable::find(std::string_view name) const {
  const auto found = values_.find(name);
  if (found == values_.end()) {
    return fail(ErrorCode::kNoAttribute);
  }
  return std::string_view(found->second);
}

Status XattrTable::set(std::string_view name, std::string_view value, XattrMode mode,
                       const NamespaceLimits& limits) {
  const auto found = values_.find(name);
  const bool exists = found != values_.end();
  if (exists && mode == XattrMode::kCreate) {
    return fail(ErrorCode::kExists);
  }
  if (!exists && mode == XattrMode::kReplace) {
    return fail(ErrorCode::kNoAttribute);
  }
  if (value.size() > limits.max_xattr_value_bytes) {
    return fail(ErrorCode::kArgumentTooLarge);
  }
  const std::uint64_t freed_bytes = exists ? name.size() + found->second.size() : 0;
  if (!range_is_inside(total_bytes_ - freed_bytes, name.size() + value.size(),
                       limits.max_xattr_total_bytes)) {
    return fail(ErrorCode::kNoSpace);
  }
  if (!exists && !range_is_inside(list_bytes_, name.size() + 1, limits.max_xattr_list_bytes)) {
    return fail(ErrorCode::kNoSpace);
  }
  if (exists) {
    found->second = std::string(value);  // not assign(): a smaller value gives its memory back
  } else {
    values_.emplace(std::string(name), std::string(value));
    list_bytes_ += name.size() + 1;
  }
  total_bytes_ = total_bytes_ - freed_bytes + name.size() + value.size();
  return {};
}

Status XattrTable::remove(std::string_view name) {
  const auto found = values_.find(name);
  if (found == values_.end()) {
    return fail(ErrorCode::kNoAttribute);
  }
  list_bytes_ -= found->first.size() + 1;
  total_bytes_ -= found->first.size() + found->second.size();
  values_.erase(found);
  if (values_.empty()) {
    values_.shrink_to_fit();
  }
  return {};
}

void XattrTable::for_each_name(const std::function<void(std::string_view)>& visit) const {
  for (const auto& [name, value] : values_) {
    visit(name);
  }
}

std::uint64_t XattrTable::memory_bytes() const {
  return values_.capacity() * sizeof(*values_.begin()) + total_bytes_;
}

}  // namespace rram
