// Access lists: what is one, what it does to the mode, and who inherits it.
#include <gtest/gtest.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

#include <initializer_list>

#include "fusefs/namespace/acl.h"
#include "tests/unit/namespace/namespace_fixture.h"

namespace rram {
namespace {

struct AclEntry {
  unsigned tag;
  unsigned permissions;
  std::uint32_t id = static_cast<std::uint32_t>(ACL_UNDEFINED_ID);
};

// As setfacl(1) would hand it to the kernel, byte by byte.
std::string acl(std::initializer_list<AclEntry> entries, unsigned version = 2) {
  std::string value;
  const auto append = [&value](std::uint64_t number, unsigned bytes) {
    for (unsigned i = 0; i < bytes; ++i) value += static_cast<char>(number >> (8 * i));
  };
  append(version, 4);
  for (const AclEntry& entry : entries) {
    append(entry.tag, 2);
    append(entry.permissions, 2);
    append(entry.id, 4);
  }
  return value;
}

const std::string kMinimal = acl({{ACL_USER_OBJ, 6}, {ACL_GROUP_OBJ, 4}, {ACL_OTHER, 0}});
const std::string kNamesUser = acl(
    {{ACL_USER_OBJ, 7}, {ACL_USER, 6, 1001}, {ACL_GROUP_OBJ, 4}, {ACL_MASK, 5}, {ACL_OTHER, 1}});

TEST(AclTest, value_comes_back_as_it_was) {
  EXPECT_EQ(Acl::parse(kNamesUser)->value(), kNamesUser);
  EXPECT_EQ(Acl::parse(kMinimal)->value(), kMinimal);
}

TEST(AclTest, mask_stands_where_the_group_would_in_the_mode) {
  EXPECT_EQ(Acl::parse(kMinimal)->mode_bits(), 0640U);
  EXPECT_TRUE(Acl::parse(kMinimal)->is_minimal());
  EXPECT_EQ(Acl::parse(kNamesUser)->mode_bits(), 0751U);
  EXPECT_FALSE(Acl::parse(kNamesUser)->is_minimal());
}

TEST(AclTest, what_is_no_list_is_refused) {
  const std::vector<std::string> bad{
      "",
      "abc",
      acl({}),
      kMinimal + "x",
      acl({{ACL_USER_OBJ, 6}, {ACL_GROUP_OBJ, 4}}),
      acl({{ACL_GROUP_OBJ, 4}, {ACL_USER_OBJ, 6}, {ACL_OTHER, 0}}),
      acl({{ACL_USER_OBJ, 8}, {ACL_GROUP_OBJ, 4}, {ACL_OTHER, 0}}),
      acl({{ACL_USER_OBJ, 6}, {ACL_USER_OBJ, 6}, {ACL_GROUP_OBJ, 4}, {ACL_OTHER, 0}}),
      acl({{ACL_USER_OBJ, 6}, {ACL_USER, 6, 7}, {ACL_GROUP_OBJ, 4}, {ACL_OTHER, 0}}),
      acl({{ACL_USER_OBJ, 6}, {ACL_GROUP_OBJ, 4}, {ACL_OTHER, 0}, {0x40, 0}}),
  };
  for (const std::string& value : bad) {
    EXPECT_EQ(error_of(Acl::parse(value)), ErrorCode::kInvalidArgument) << value.size();
  }
  const std::string old = acl({{ACL_USER_OBJ, 6}, {ACL_GROUP_OBJ, 4}, {ACL_OTHER, 0}}, 1);
  EXPECT_EQ(error_of(Acl::parse(old)), ErrorCode::kNotSupported);
}

class NamespaceAclTest : public NamespaceTest {
 protected:
  Result<Outcome> set(Ino ino, std::string_view name, std::string value, bool clears_gid = false) {
    return names().apply(SetXattr{.ino = ino,
                                  .name = std::string(name),
                                  .value = std::move(value),
                                  .clears_set_gid = clears_gid,
                                  .at = tick()});
  }
  Result<Outcome> chmod(Ino ino, std::uint32_t mode) {
    return names().apply(SetAttributes{.ino = ino, .mode = mode, .at = tick()});
  }
  std::optional<std::string> list_of(Ino ino, std::string_view name) const {
    const auto value = names().xattr(ino, name);
    return value ? std::optional(std::string(*value)) : std::nullopt;
  }
  Ino create_with_umask(Ino parent, std::string name, std::uint32_t mode, std::uint32_t umask) {
    return names()
        .apply(Create{
            .parent = parent, .name = std::move(name), .mode = mode, .umask = umask, .at = tick()})
        .value()
        .attributes.ino;
  }

  Ino file_ = file(kRootIno, "f");
  Ino directory_ = directory(kRootIno, "d");
};

TEST_F(NamespaceAclTest, access_list_sets_the_mode) {
  ASSERT_TRUE(chmod(file_, 06000));
  const auto outcome = set(file_, kAccessAclName, kNamesUser);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->attributes.mode, S_IFREG | 06751U);
  EXPECT_EQ(outcome->attributes.ctime, now());
  EXPECT_EQ(list_of(file_, kAccessAclName), kNamesUser);
}

TEST_F(NamespaceAclTest, who_is_not_in_the_group_loses_set_gid) {
  ASSERT_TRUE(chmod(file_, 06000));
  EXPECT_EQ(set(file_, kAccessAclName, kNamesUser, true)->attributes.mode, S_IFREG | 04751U);
}

TEST_F(NamespaceAclTest, list_that_says_no_more_than_a_mode_is_not_kept) {
  ASSERT_TRUE(set(file_, kAccessAclName, kNamesUser));
  ASSERT_TRUE(set(file_, kAccessAclName, kMinimal));
  EXPECT_EQ(stat(file_).mode, S_IFREG | 0640U);
  EXPECT_EQ(list_of(file_, kAccessAclName), std::nullopt);
}

TEST_F(NamespaceAclTest, chmod_goes_into_the_list) {
  ASSERT_TRUE(set(file_, kAccessAclName, kNamesUser));
  ASSERT_TRUE(chmod(file_, 0462));
  EXPECT_EQ(stat(file_).mode, S_IFREG | 0462U);
  EXPECT_EQ(list_of(file_, kAccessAclName), acl({{ACL_USER_OBJ, 4},
                                                 {ACL_USER, 6, 1001},
                                                 {ACL_GROUP_OBJ, 4},
                                                 {ACL_MASK, 6},
                                                 {ACL_OTHER, 2}}));
}

TEST_F(NamespaceAclTest, only_directories_have_a_default_list) {
  EXPECT_EQ(error_of(set(file_, kDefaultAclName, kNamesUser)), ErrorCode::kAccessDenied);
  const std::uint32_t mode = stat(directory_).mode;
  ASSERT_TRUE(set(directory_, kDefaultAclName, kMinimal));
  EXPECT_EQ(stat(directory_).mode, mode);
  EXPECT_EQ(list_of(directory_, kDefaultAclName), kMinimal);
}

TEST_F(NamespaceAclTest, bad_list_changes_nothing) {
  ASSERT_TRUE(set(file_, kAccessAclName, kNamesUser));
  const Attributes before = stat(file_);
  EXPECT_EQ(error_of(set(file_, kAccessAclName, "nonsense")), ErrorCode::kInvalidArgument);
  EXPECT_EQ(stat(file_), before);
  EXPECT_EQ(list_of(file_, kAccessAclName), kNamesUser);
}

TEST_F(NamespaceAclTest, removing_a_list_that_is_not_there_is_a_success_that_only_ctime_shows) {
  Attributes expected = stat(file_);
  EXPECT_TRUE(
      names().apply(RemoveXattr{.ino = file_, .name = std::string(kAccessAclName), .at = tick()}));
  expected.ctime = now();
  EXPECT_EQ(stat(file_), expected);
}

TEST_F(NamespaceAclTest, new_file_inherits_and_the_umask_does_not_count) {
  ASSERT_TRUE(set(directory_, kDefaultAclName, kNamesUser));
  const Ino made = create_with_umask(directory_, "f", S_IFREG | 0664, 0077);
  EXPECT_EQ(stat(made).mode, S_IFREG | 0640U);
  EXPECT_EQ(list_of(made, kAccessAclName), acl({{ACL_USER_OBJ, 6},
                                                {ACL_USER, 6, 1001},
                                                {ACL_GROUP_OBJ, 4},
                                                {ACL_MASK, 4},
                                                {ACL_OTHER, 0}}));
  EXPECT_EQ(list_of(made, kDefaultAclName), std::nullopt);
}

TEST_F(NamespaceAclTest, new_directory_hands_the_default_list_down) {
  ASSERT_TRUE(set(directory_, kDefaultAclName, kNamesUser));
  const Ino made = create_with_umask(directory_, "d", S_IFDIR | 0777, 0077);
  EXPECT_EQ(stat(made).mode, S_IFDIR | 0751U);
  EXPECT_EQ(list_of(made, kDefaultAclName), kNamesUser);
  EXPECT_EQ(list_of(made, kAccessAclName), kNamesUser);
}

TEST_F(NamespaceAclTest, minimal_default_list_is_a_limit_of_the_mode_alone) {
  ASSERT_TRUE(set(directory_, kDefaultAclName, kMinimal));
  const Ino made = create_with_umask(directory_, "f", S_IFREG | 0777, 0);
  EXPECT_EQ(stat(made).mode, S_IFREG | 0640U);
  EXPECT_EQ(list_of(made, kAccessAclName), std::nullopt);
}

TEST_F(NamespaceAclTest, symbolic_link_inherits_nothing) {
  ASSERT_TRUE(set(directory_, kDefaultAclName, kNamesUser));
  const auto made = make_symlink(directory_, "s", "target");
  ASSERT_TRUE(made);
  EXPECT_EQ(made->attributes.mode, S_IFLNK | 0777U);
  EXPECT_EQ(list_of(made->attributes.ino, kAccessAclName), std::nullopt);
}

TEST_F(NamespaceAclTest, without_a_default_list_the_umask_counts) {
  EXPECT_EQ(stat(create_with_umask(directory_, "f", S_IFREG | 04777, 0027)).mode, S_IFREG | 04750U);
}

TEST_F(NamespaceAclTest, memory_of_inherited_lists_is_counted) {
  const auto grown_by_file = [this](const std::string& name) {
    const std::uint64_t before = names().usage().memory_bytes;
    create_with_umask(directory_, name, S_IFREG | 0666, 0);
    const std::uint64_t grown = names().usage().memory_bytes - before;
    EXPECT_TRUE(unlink(directory_, name));
    return grown;
  };
  grown_by_file("w");  // the tables grow first
  const std::uint64_t without_list = grown_by_file("x");
  const std::uint64_t before = names().usage().memory_bytes;
  ASSERT_TRUE(set(directory_, kDefaultAclName, kNamesUser));
  EXPECT_GE(names().usage().memory_bytes, before + kNamesUser.size());
  EXPECT_GE(grown_by_file("x"), without_list + kNamesUser.size());
  ASSERT_TRUE(names().apply(
      RemoveXattr{.ino = directory_, .name = std::string(kDefaultAclName), .at = tick()}));
  // The directory's table keeps a few slots.
  EXPECT_LE(names().usage().memory_bytes, before + 512);
}

}  // namespace
}  // namespace rram
