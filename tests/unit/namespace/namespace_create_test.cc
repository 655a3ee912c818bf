// Create, Link, Unlink, RemoveDirectory, and lookup.
#include <gtest/gtest.h>

#include <set>

#include "tests/unit/namespace/namespace_fixture.h"

namespace rram {
namespace {

// Every type but the symbolic link, which needs a target.
constexpr std::uint32_t kPlainTypes[] = {S_IFREG, S_IFDIR, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK};

class NamespaceCreateTest : public NamespaceTest {};

TEST_F(NamespaceCreateTest, new_namespace_has_an_empty_root) {
  const Attributes root = stat(kRootIno);
  EXPECT_EQ(root.mode, S_IFDIR | 0755U);
  EXPECT_EQ(root.nlink, 2U);
  EXPECT_EQ(root.generation, kGeneration);
  EXPECT_EQ(root.ctime, now());
  EXPECT_TRUE(list(kRootIno).empty());
  EXPECT_EQ(names().usage().inodes_used, 1U);
}

TEST_F(NamespaceCreateTest, created_file_has_what_was_asked_for_and_new_times) {
  const auto made = create(kRootIno, "a", S_IFREG | 04640);
  ASSERT_TRUE(made);
  const Attributes file = made->attributes;
  EXPECT_EQ(file.mode, S_IFREG | 04640U);
  EXPECT_EQ(file.uid, 10U);
  EXPECT_EQ(file.gid, 20U);
  EXPECT_EQ(file.nlink, 1U);
  EXPECT_EQ(file.size_bytes, 0U);
  EXPECT_EQ(file.atime, now());
  EXPECT_EQ(file.mtime, now());
  EXPECT_EQ(file.ctime, now());
  EXPECT_EQ(file, stat(file.ino));
  EXPECT_EQ(file, names().lookup(kRootIno, "a").value());
  EXPECT_FALSE(made->destroyed);
}

TEST_F(NamespaceCreateTest, create_of_each_type_keeps_the_type) {
  for (const std::uint32_t type : kPlainTypes) {
    const auto made = create(kRootIno, "n" + std::to_string(type), type | 0600U);
    ASSERT_TRUE(made) << type;
    EXPECT_EQ(made->attributes.mode, type | 0600U);
  }
}

TEST_F(NamespaceCreateTest, only_devices_keep_a_device_number) {
  for (const std::uint32_t type : kPlainTypes) {
    const auto made = names().apply(Create{.parent = kRootIno,
                                           .name = std::to_string(type),
                                           .mode = type | 0600U,
                                           .rdev = 0x801,
                                           .at = tick()});
    ASSERT_TRUE(made) << type;
    EXPECT_EQ(made->attributes.rdev, is_device(type) ? 0x801U : 0U);
  }
}

TEST_F(NamespaceCreateTest, create_without_a_known_type_is_refused) {
  EXPECT_EQ(error_of(create(kRootIno, "a", 0644)), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of(create(kRootIno, "a", S_IFMT | 0644)), ErrorCode::kInvalidArgument);
}

TEST_F(NamespaceCreateTest, create_changes_the_times_and_links_of_the_directory) {
  directory(kRootIno, "d");
  EXPECT_EQ(stat(kRootIno).nlink, 3U);
  EXPECT_EQ(stat(kRootIno).mtime, now());
  file(kRootIno, "f");
  EXPECT_EQ(stat(kRootIno).nlink, 3U);
  EXPECT_EQ(stat(kRootIno).mtime, now());
  EXPECT_EQ(stat(kRootIno).ctime, now());
  EXPECT_LT(stat(kRootIno).atime, now());
}

TEST_F(NamespaceCreateTest, create_of_a_name_that_exists_is_refused_and_changes_nothing) {
  file(kRootIno, "a");
  const Attributes before = stat(kRootIno);
  EXPECT_EQ(error_of(create(kRootIno, "a", S_IFREG)), ErrorCode::kExists);
  EXPECT_EQ(stat(kRootIno), before);
  EXPECT_EQ(names().usage().inodes_used, 2U);
}

TEST_F(NamespaceCreateTest, refused_create_uses_no_inode_number) {
  const Ino first = file(kRootIno, "a");
  EXPECT_FALSE(create(kRootIno, "a", S_IFREG));
  EXPECT_EQ(file(kRootIno, "b"), first + 1);
}

TEST_F(NamespaceCreateTest, inode_numbers_are_never_used_again) {
  std::set<Ino> seen{kRootIno};
  for (int round = 0; round < 100; ++round) {
    EXPECT_TRUE(seen.insert(file(kRootIno, "a")).second);
    EXPECT_TRUE(unlink(kRootIno, "a"));
  }
}

TEST_F(NamespaceCreateTest, bad_names_are_refused_by_every_change) {
  const Ino ino = file(kRootIno, "a");
  using namespace std::string_literals;
  for (const std::string& name : {""s, "."s, ".."s, "a/b"s, "/"s, "a\0b"s}) {
    EXPECT_EQ(error_of(create(kRootIno, name, S_IFREG)), ErrorCode::kInvalidArgument) << name;
    EXPECT_EQ(error_of(link(ino, kRootIno, name)), ErrorCode::kInvalidArgument) << name;
    EXPECT_EQ(error_of(unlink(kRootIno, name)), ErrorCode::kInvalidArgument) << name;
    EXPECT_EQ(error_of(remove_directory(kRootIno, name)), ErrorCode::kInvalidArgument) << name;
    EXPECT_EQ(error_of(rename(kRootIno, name, kRootIno, "b")), ErrorCode::kInvalidArgument) << name;
    EXPECT_EQ(error_of(rename(kRootIno, "a", kRootIno, name)), ErrorCode::kInvalidArgument) << name;
  }
}

TEST_F(NamespaceCreateTest, longest_name_is_accepted_and_one_byte_more_is_not) {
  const std::string longest(255, 'x');
  const Ino ino = file(kRootIno, longest);
  EXPECT_EQ(ino_of(kRootIno, longest), ino);
  EXPECT_EQ(list(kRootIno), std::vector{longest});
  EXPECT_EQ(error_of(create(kRootIno, longest + "x", S_IFREG)), ErrorCode::kNameTooLong);
  EXPECT_EQ(error_of(names().lookup(kRootIno, longest + "x")), ErrorCode::kNameTooLong);
}

TEST_F(NamespaceCreateTest, names_of_every_length_are_kept_whole) {
  std::vector<std::string> expected;
  for (std::size_t bytes = 1; bytes <= 255; ++bytes) {
    expected.emplace_back(bytes, static_cast<char>('a' + bytes % 26));
    file(kRootIno, expected.back());
  }
  EXPECT_EQ(list(kRootIno), expected);
}

TEST_F(NamespaceCreateTest, more_inodes_than_the_limit_is_no_space) {
  restart({.max_inodes = 3});
  file(kRootIno, "a");
  file(kRootIno, "b");
  EXPECT_EQ(error_of(create(kRootIno, "c", S_IFREG)), ErrorCode::kNoSpace);
  EXPECT_TRUE(unlink(kRootIno, "a"));
  file(kRootIno, "c");
  EXPECT_EQ(names().usage().inodes_used, 3U);
  EXPECT_EQ(names().usage().inodes_max, 3U);
}

TEST_F(NamespaceCreateTest, symlink_keeps_its_target_and_its_length_is_the_size) {
  const auto made = make_symlink(kRootIno, "s", "../somewhere");
  ASSERT_TRUE(made);
  EXPECT_EQ(made->attributes.mode, S_IFLNK | 0777U);
  EXPECT_EQ(made->attributes.size_bytes, 12U);
  EXPECT_EQ(names().read_symlink(made->attributes.ino).value(), "../somewhere");
  EXPECT_EQ(error_of(names().read_symlink(kRootIno)), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of(names().read_symlink(99)), ErrorCode::kStale);
}

TEST_F(NamespaceCreateTest, bad_symlink_targets_are_refused) {
  EXPECT_EQ(error_of(make_symlink(kRootIno, "s", "")), ErrorCode::kNotFound);
  EXPECT_EQ(error_of(make_symlink(kRootIno, "s", std::string(2, '\0'))),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of(make_symlink(kRootIno, "s", std::string(4096, 'x'))), ErrorCode::kNameTooLong);
  EXPECT_TRUE(make_symlink(kRootIno, "s", std::string(4095, 'x')));
  EXPECT_EQ(error_of(names().apply(
                Create{.parent = kRootIno, .name = "f", .mode = S_IFREG, .symlink_target = "t"})),
            ErrorCode::kInvalidArgument);
}

TEST_F(NamespaceCreateTest, set_group_directory_passes_its_group_on) {
  ASSERT_TRUE(names().apply(
      Create{.parent = kRootIno, .name = "d", .mode = S_IFDIR | 02775, .gid = 500, .at = tick()}));
  const Ino shared = ino_of(kRootIno, "d");
  EXPECT_EQ(stat(file(shared, "f")).gid, 500U);
  EXPECT_EQ(stat(file(shared, "f2")).mode & S_ISGID, 0U);
  const Ino sub = directory(shared, "sub");
  EXPECT_EQ(stat(sub).gid, 500U);
  EXPECT_EQ(stat(sub).mode, S_IFDIR | 02755U);
  EXPECT_EQ(stat(directory(kRootIno, "other")).mode, S_IFDIR | 0755U);
}

TEST_F(NamespaceCreateTest, change_in_what_is_no_directory_is_refused) {
  const Ino ino = file(kRootIno, "a");
  EXPECT_EQ(error_of(create(ino, "x", S_IFREG)), ErrorCode::kNotDirectory);
  EXPECT_EQ(error_of(names().lookup(ino, "x")), ErrorCode::kNotDirectory);
  EXPECT_EQ(error_of(create(99, "x", S_IFREG)), ErrorCode::kStale);
  EXPECT_EQ(error_of(names().lookup(0, "x")), ErrorCode::kStale);
}

TEST_F(NamespaceCreateTest, instant_without_valid_nanoseconds_is_refused) {
  EXPECT_EQ(error_of(names().apply(Create{.parent = kRootIno,
                                          .name = "a",
                                          .mode = S_IFREG,
                                          .at = {.seconds = 1, .nanoseconds = 1'000'000'000}})),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(ino_of(kRootIno, "a"), 0U);
}

TEST_F(NamespaceCreateTest, dot_and_dot_dot_can_be_looked_up) {
  const Ino outer = directory(kRootIno, "outer");
  const Ino inner = directory(outer, "inner");
  EXPECT_EQ(ino_of(inner, "."), inner);
  EXPECT_EQ(ino_of(inner, ".."), outer);
  EXPECT_EQ(ino_of(kRootIno, ".."), kRootIno);
  EXPECT_EQ(error_of(names().lookup(inner, "nothing")), ErrorCode::kNotFound);
}

TEST_F(NamespaceCreateTest, link_gives_a_second_name_to_the_same_inode) {
  const Ino ino = file(kRootIno, "a");
  const Ino dir = directory(kRootIno, "d");
  const auto linked = link(ino, dir, "b");
  ASSERT_TRUE(linked);
  EXPECT_EQ(linked->attributes.nlink, 2U);
  EXPECT_EQ(linked->attributes.ctime, now());
  EXPECT_LT(linked->attributes.mtime, now());
  EXPECT_EQ(ino_of(dir, "b"), ino);
  EXPECT_EQ(stat(dir).mtime, now());
  EXPECT_EQ(stat(dir).nlink, 2U);
}

TEST_F(NamespaceCreateTest, link_to_a_directory_is_not_permitted) {
  const Ino dir = directory(kRootIno, "d");
  EXPECT_EQ(error_of(link(dir, kRootIno, "e")), ErrorCode::kNotPermitted);
  EXPECT_EQ(error_of(link(dir, kRootIno, "d")), ErrorCode::kExists);
}

TEST_F(NamespaceCreateTest, link_over_a_name_is_refused) {
  const Ino ino = file(kRootIno, "a");
  file(kRootIno, "b");
  EXPECT_EQ(error_of(link(ino, kRootIno, "b")), ErrorCode::kExists);
  EXPECT_EQ(stat(ino).nlink, 1U);
}

TEST_F(NamespaceCreateTest, link_to_a_file_without_a_name_is_not_found) {
  const Ino ino = file(kRootIno, "a");
  ASSERT_TRUE(names().open(ino));
  ASSERT_TRUE(unlink(kRootIno, "a"));
  EXPECT_EQ(error_of(link(ino, kRootIno, "b")), ErrorCode::kNotFound);
}

TEST_F(NamespaceCreateTest, more_links_than_the_limit_is_too_many) {
  restart({.max_links = 4});
  const Ino ino = file(kRootIno, "a");
  for (const char* name : {"b", "c", "d"}) {
    ASSERT_TRUE(link(ino, kRootIno, name));
  }
  EXPECT_EQ(error_of(link(ino, kRootIno, "e")), ErrorCode::kTooManyLinks);
  directory(kRootIno, "d1");
  directory(kRootIno, "d2");
  EXPECT_EQ(error_of(create(kRootIno, "d3", S_IFDIR)), ErrorCode::kTooManyLinks);
  file(kRootIno, "f");
}

TEST_F(NamespaceCreateTest, unlink_takes_one_name_and_destroys_with_the_last) {
  const Ino ino = file(kRootIno, "a");
  ASSERT_TRUE(link(ino, kRootIno, "b"));
  const auto first = unlink(kRootIno, "a");
  ASSERT_TRUE(first);
  EXPECT_FALSE(first->destroyed);
  EXPECT_EQ(first->attributes.nlink, 1U);
  EXPECT_EQ(stat(ino).ctime, now());
  EXPECT_EQ(stat(kRootIno).mtime, now());
  const auto second = unlink(kRootIno, "b");
  ASSERT_TRUE(second);
  EXPECT_EQ(second->destroyed, ino);
  EXPECT_EQ(second->attributes.nlink, 0U);
  EXPECT_EQ(error_of(names().attributes(ino)), ErrorCode::kStale);
}

TEST_F(NamespaceCreateTest, unlink_of_a_directory_and_of_nothing_is_refused) {
  directory(kRootIno, "d");
  EXPECT_EQ(error_of(unlink(kRootIno, "d")), ErrorCode::kIsDirectory);
  EXPECT_EQ(error_of(unlink(kRootIno, "x")), ErrorCode::kNotFound);
}

TEST_F(NamespaceCreateTest, remove_directory_takes_the_link_of_dot_dot_back) {
  const Ino dir = directory(kRootIno, "d");
  const auto removed = remove_directory(kRootIno, "d");
  ASSERT_TRUE(removed);
  EXPECT_EQ(removed->destroyed, dir);
  EXPECT_EQ(removed->attributes.nlink, 0U);
  EXPECT_EQ(stat(kRootIno).nlink, 2U);
  EXPECT_EQ(stat(kRootIno).ctime, now());
}

TEST_F(NamespaceCreateTest, remove_directory_of_a_file_a_full_directory_or_nothing_is_refused) {
  file(kRootIno, "f");
  const Ino dir = directory(kRootIno, "d");
  file(dir, "x");
  EXPECT_EQ(error_of(remove_directory(kRootIno, "f")), ErrorCode::kNotDirectory);
  EXPECT_EQ(error_of(remove_directory(kRootIno, "d")), ErrorCode::kNotEmpty);
  EXPECT_EQ(error_of(remove_directory(kRootIno, "x")), ErrorCode::kNotFound);
}

TEST_F(NamespaceCreateTest, nothing_is_added_above_the_memory_limit) {
  restart({.max_memory_bytes = 20'000});
  const Ino first = file(kRootIno, "first");
  const std::uint64_t could_be = names().usage().inodes_max;
  EXPECT_GE(could_be, 30U);
  int made = 0;
  while (create(kRootIno, "file-" + std::to_string(made), S_IFREG)) ++made;
  EXPECT_GE(made, 30);
  EXPECT_EQ(error_of(create(kRootIno, "more", S_IFREG)), ErrorCode::kNoSpace);
  EXPECT_EQ(error_of(link(first, kRootIno, "link")), ErrorCode::kNoSpace);
  const SetXattr set{.ino = first, .name = "user.a", .value = "v", .at = tick()};
  EXPECT_EQ(error_of(names().apply(set)), ErrorCode::kNoSpace);
  EXPECT_EQ(names().usage().inodes_max, names().usage().inodes_used);
  // The last addition may pass it, and a table that grows.
  EXPECT_LE(names().usage().memory_bytes, 24'000U);
  // What exists can still be changed, moved and removed.
  EXPECT_TRUE(rename(kRootIno, "first", kRootIno, "moved"));
  for (int i = 0; i < made; ++i) {
    ASSERT_TRUE(unlink(kRootIno, "file-" + std::to_string(i)));
  }
  EXPECT_TRUE(names().apply(set));
  EXPECT_TRUE(link(first, kRootIno, "link"));
}

}  // namespace
}  // namespace rram
