// Access lists and extended attributes as the kernel hands them on. First byte: which; the rest:
// the value, or operations on the attributes of one inode.
#include <sys/stat.h>

#include <map>
#include <string>

#include "fusefs/namespace/acl.h"
#include "fusefs/namespace/xattr.h"
#include "tests/fuzz/fuzz_input.h"

namespace rram::fuzz {
namespace {

constexpr std::uint32_t kPermissions = 0777;

void check_list(std::string_view value, std::uint32_t mode) {
  Result<Acl> list = Acl::parse(value);
  if (!list) return;
  require(list->value() == value);
  const std::uint32_t granted = list->mode_bits();
  require((granted & ~kPermissions) == 0);

  Acl restricted = *list;
  const std::uint32_t left = restricted.restrict_to(mode);
  require((left & ~kPermissions) == (mode & ~kPermissions));
  require((left & kPermissions) == (mode & granted & kPermissions));
  require(restricted.mode_bits() == (left & kPermissions));
  require(Acl::parse(restricted.value()).has_value());

  list->set_mode_bits(mode);
  require(list->mode_bits() == (mode & kPermissions));
  const Result<Acl> again = Acl::parse(list->value());
  require(again.has_value() && again->is_minimal() == list->is_minimal());
}

// The table beside a map that has no limits: what it accepts must be there, and nothing else.
class Attributes {
 public:
  void step(Input& input) {
    const std::uint8_t choice = input.byte();
    const std::string name(input.text(choice % 64));
    if (!check_xattr_name(name, limits_)) return;
    require(!name.empty() && name.size() <= limits_.max_xattr_name_bytes);
    require(!name.contains('\0'));
    if (choice < 128) {
      set(name, choice, input);
    } else if (choice < 192) {
      require(table_.remove(name).has_value() == (model_.erase(name) == 1));
    }
    look(name);
  }

 private:
  void set(const std::string& name, std::uint8_t choice, Input& input) {
    constexpr XattrMode kModes[] = {XattrMode::kCreateOrReplace, XattrMode::kCreate,
                                    XattrMode::kReplace};
    const XattrMode mode = kModes[choice / 64 % 2 + choice % 2];
    const std::string value(std::size_t{input.byte()} << input.byte() % 12, 'v');
    const bool was_there = model_.contains(name);
    const Status status = table_.set(name, value, mode, limits_);
    if (!status) return;
    require(mode != XattrMode::kCreate || !was_there);
    require(mode != XattrMode::kReplace || was_there);
    require(value.size() <= limits_.max_xattr_value_bytes);
    model_[name] = value;
  }

  void look(const std::string& name) {
    const auto expected = model_.find(name);
    const Result<std::string_view> found = table_.find(name);
    require(found.has_value() == (expected != model_.end()));
    require(!found || *found == expected->second);
    std::size_t list_bytes = 0;
    auto next = model_.begin();
    table_.for_each_name([&](std::string_view listed) {
      require(next != model_.end() && next->first == listed);
      list_bytes += listed.size() + 1;
      ++next;
    });
    require(next == model_.end() && list_bytes <= limits_.max_xattr_list_bytes);
  }

  const NamespaceLimits limits_;
  XattrTable table_;
  std::map<std::string, std::string> model_;
};

}  // namespace
}  // namespace rram::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  rram::fuzz::Input input(data, size);
  if (input.byte() % 2 == 0) {
    const std::uint32_t mode = S_IFREG | (input.number<std::uint16_t>() & 07777U);
    rram::fuzz::check_list(input.text(size), mode);
    return 0;
  }
  rram::fuzz::Attributes attributes;
  for (int steps = 0; !input.empty() && steps < 100; ++steps) attributes.step(input);
  return 0;
}
