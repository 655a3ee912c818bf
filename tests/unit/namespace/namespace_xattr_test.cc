// Extended attributes.
#include <gtest/gtest.h>

#include "tests/unit/namespace/namespace_fixture.h"

namespace rram {
namespace {

class NamespaceXattrTest : public NamespaceTest {
 protected:
  Result<Outcome> set(std::string name, std::string value,
                      XattrMode mode = XattrMode::kCreateOrReplace) {
    return names().apply(SetXattr{.ino = file_,
                                  .name = std::move(name),
                                  .value = std::move(value),
                                  .mode = mode,
                                  .at = tick()});
  }
  Result<Outcome> remove(std::string name) {
    return names().apply(RemoveXattr{.ino = file_, .name = std::move(name), .at = tick()});
  }
  std::vector<std::string> list_names() const {
    std::vector<std::string> found;
    EXPECT_TRUE(
        names().list_xattrs(file_, [&](std::string_view name) { found.emplace_back(name); }));
    return found;
  }

  Ino file_ = file(kRootIno, "f");
};

TEST_F(NamespaceXattrTest, value_comes_back_as_it_was_set) {
  const std::string binary("\0\xff\n", 3);
  const auto outcome = set("user.a", binary);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->attributes.ctime, now());
  EXPECT_LT(outcome->attributes.mtime, now());
  EXPECT_EQ(names().xattr(file_, "user.a").value(), binary);
  ASSERT_TRUE(set("user.a", ""));
  EXPECT_EQ(names().xattr(file_, "user.a").value(), "");
}

TEST_F(NamespaceXattrTest, list_is_in_the_order_of_names) {
  EXPECT_TRUE(list_names().empty());
  for (const char* name : {"user.b", "trusted.z", "security.c", "user.a"}) {
    ASSERT_TRUE(set(name, "v"));
  }
  EXPECT_EQ(list_names(),
            (std::vector<std::string>{"security.c", "trusted.z", "user.a", "user.b"}));
}

TEST_F(NamespaceXattrTest, removed_attribute_is_gone) {
  ASSERT_TRUE(set("user.a", "1"));
  const auto removed = remove("user.a");
  ASSERT_TRUE(removed);
  EXPECT_EQ(removed->attributes.ctime, now());
  EXPECT_EQ(error_of(names().xattr(file_, "user.a")), ErrorCode::kNoAttribute);
  EXPECT_EQ(error_of(remove("user.a")), ErrorCode::kNoAttribute);
  EXPECT_TRUE(list_names().empty());
}

TEST_F(NamespaceXattrTest, file_without_attributes_has_none) {
  EXPECT_EQ(error_of(names().xattr(file_, "user.a")), ErrorCode::kNoAttribute);
  EXPECT_EQ(error_of(remove("user.a")), ErrorCode::kNoAttribute);
}

TEST_F(NamespaceXattrTest, create_and_replace_insist) {
  EXPECT_EQ(error_of(set("user.a", "1", XattrMode::kReplace)), ErrorCode::kNoAttribute);
  EXPECT_TRUE(set("user.a", "1", XattrMode::kCreate));
  EXPECT_EQ(error_of(set("user.a", "2", XattrMode::kCreate)), ErrorCode::kExists);
  EXPECT_EQ(names().xattr(file_, "user.a").value(), "1");
  EXPECT_TRUE(set("user.a", "3", XattrMode::kReplace));
  EXPECT_EQ(names().xattr(file_, "user.a").value(), "3");
}

TEST_F(NamespaceXattrTest, names_are_checked_by_every_call) {
  using namespace std::string_literals;
  const std::vector<std::pair<std::string, ErrorCode>> bad{
      {"system.posix_acl", ErrorCode::kNotSupported},
      {"user", ErrorCode::kNotSupported},
      {"other.a", ErrorCode::kNotSupported},
      {"", ErrorCode::kNotSupported},
      {"user.", ErrorCode::kInvalidArgument},
      {"trusted.", ErrorCode::kInvalidArgument},
      {"security.", ErrorCode::kInvalidArgument},
      {"user.a\0b"s, ErrorCode::kInvalidArgument},
      {"user." + std::string(251, 'x'), ErrorCode::kRange},
  };
  for (const auto& [name, code] : bad) {
    EXPECT_EQ(error_of(set(name, "v")), code) << name;
    EXPECT_EQ(error_of(remove(name)), code) << name;
    EXPECT_EQ(error_of(names().xattr(file_, name)), code) << name;
  }
  EXPECT_TRUE(set("user." + std::string(250, 'x'), "v"));
}

TEST_F(NamespaceXattrTest, value_longer_than_the_limit_is_too_large) {
  EXPECT_EQ(error_of(set("user.a", std::string(65'537, 'x'))), ErrorCode::kArgumentTooLarge);
  EXPECT_TRUE(set("user.a", std::string(65'536, 'x')));
}

TEST_F(NamespaceXattrTest, more_than_an_inode_may_have_is_no_space) {
  const std::string value(60'000, 'x');
  ASSERT_TRUE(set("user.a", value));
  ASSERT_TRUE(set("user.b", value));
  EXPECT_EQ(error_of(set("user.c", value)), ErrorCode::kNoSpace);
  EXPECT_EQ(error_of(names().xattr(file_, "user.c")), ErrorCode::kNoAttribute);
  EXPECT_TRUE(set("user.b", value + "x"));  // what it replaces does not count
  ASSERT_TRUE(remove("user.a"));
  EXPECT_TRUE(set("user.c", value));
}

TEST_F(NamespaceXattrTest, list_never_outgrows_what_the_kernel_can_return) {
  std::size_t list_bytes = 0;
  Result<Outcome> outcome = fail(ErrorCode::kNotFound);
  for (int i = 0; i == 0 || outcome; ++i) {
    const std::string name = "user." + std::string(200, 'x') + std::to_string(i);
    outcome = set(name, "");
    list_bytes += outcome ? name.size() + 1 : 0;
  }
  EXPECT_EQ(error_of(outcome), ErrorCode::kNoSpace);
  EXPECT_LE(list_bytes, 65'536U);
  EXPECT_GT(list_bytes, 65'000U);
}

TEST_F(NamespaceXattrTest, directories_and_symlinks_have_attributes_too) {
  for (const Ino ino :
       {directory(kRootIno, "d"), make_symlink(kRootIno, "s", "t")->attributes.ino}) {
    EXPECT_TRUE(names().apply(SetXattr{.ino = ino, .name = "trusted.a", .value = "v"}));
    EXPECT_EQ(names().xattr(ino, "trusted.a").value(), "v");
  }
}

TEST_F(NamespaceXattrTest, inode_that_is_gone_is_stale) {
  ASSERT_TRUE(unlink(kRootIno, "f"));
  EXPECT_EQ(error_of(set("user.a", "v")), ErrorCode::kStale);
  EXPECT_EQ(error_of(remove("user.a")), ErrorCode::kStale);
  EXPECT_EQ(error_of(names().xattr(file_, "user.a")), ErrorCode::kStale);
  EXPECT_EQ(error_of(names().list_xattrs(file_, [](std::string_view) {})), ErrorCode::kStale);
}

TEST_F(NamespaceXattrTest, memory_of_removed_attributes_is_not_counted) {
  ASSERT_TRUE(set("user.a", "v"));
  ASSERT_TRUE(remove("user.a"));
  const std::uint64_t before_bytes = names().usage().memory_bytes;
  ASSERT_TRUE(set("user.a", std::string(1000, 'v')));
  EXPECT_GE(names().usage().memory_bytes, before_bytes + 1000);
  ASSERT_TRUE(remove("user.a"));
  EXPECT_EQ(names().usage().memory_bytes, before_bytes);
}

}  // namespace
}  // namespace rram
