// How long inodes without a name live.
#include <gtest/gtest.h>

#include "tests/unit/namespace/namespace_fixture.h"

namespace rram {
namespace {

class NamespaceLifetimeTest : public NamespaceTest {};

TEST_F(NamespaceLifetimeTest, open_file_outlives_its_last_name) {
  const Ino ino = file(kRootIno, "f");
  ASSERT_TRUE(names().open(ino));
  const auto outcome = unlink(kRootIno, "f");
  ASSERT_TRUE(outcome);
  EXPECT_FALSE(outcome->destroyed);
  EXPECT_EQ(stat(ino).nlink, 0U);
  EXPECT_TRUE(names().apply(Extend{.ino = ino, .size_bytes = 10, .at = tick()}));
  EXPECT_TRUE(names().apply(SetAttributes{.ino = ino, .mode = 0, .at = tick()}));
  EXPECT_EQ(names().close(ino), ino);
  EXPECT_FALSE(exists(ino));
}

TEST_F(NamespaceLifetimeTest, known_file_outlives_its_last_name) {
  const Ino ino = file(kRootIno, "f");
  ASSERT_TRUE(names().add_lookup(ino, 3));
  ASSERT_TRUE(unlink(kRootIno, "f"));
  EXPECT_EQ(names().forget(ino, 2), std::nullopt);
  EXPECT_TRUE(exists(ino));
  EXPECT_EQ(names().forget(ino, 1), ino);
  EXPECT_FALSE(exists(ino));
}

TEST_F(NamespaceLifetimeTest, the_last_of_all_references_destroys) {
  const Ino ino = file(kRootIno, "f");
  ASSERT_TRUE(names().add_lookup(ino));
  ASSERT_TRUE(names().open(ino));
  ASSERT_TRUE(names().open(ino));
  ASSERT_TRUE(unlink(kRootIno, "f"));
  EXPECT_EQ(names().close(ino), std::nullopt);
  EXPECT_EQ(names().forget(ino, 1), std::nullopt);
  EXPECT_EQ(names().close(ino), ino);
}

TEST_F(NamespaceLifetimeTest, references_given_up_do_not_destroy_what_has_a_name) {
  const Ino ino = file(kRootIno, "f");
  ASSERT_TRUE(names().add_lookup(ino));
  ASSERT_TRUE(names().open(ino));
  EXPECT_EQ(names().close(ino), std::nullopt);
  EXPECT_EQ(names().forget(ino, 1), std::nullopt);
  EXPECT_TRUE(exists(ino));
}

TEST_F(NamespaceLifetimeTest, giving_up_too_much_or_of_nothing_is_harmless) {
  const Ino ino = file(kRootIno, "f");
  EXPECT_EQ(names().forget(ino, 5), std::nullopt);
  EXPECT_EQ(names().close(ino), std::nullopt);
  EXPECT_EQ(names().forget(99, 1), std::nullopt);
  EXPECT_EQ(names().close(99), std::nullopt);
  EXPECT_EQ(names().forget(kRootIno, 1000), std::nullopt);
  EXPECT_EQ(error_of(names().open(99)), ErrorCode::kStale);
  EXPECT_EQ(error_of(names().add_lookup(99)), ErrorCode::kStale);
  // No count has wrapped: one reference is still enough.
  ASSERT_TRUE(names().add_lookup(ino));
  ASSERT_TRUE(unlink(kRootIno, "f"));
  EXPECT_EQ(names().forget(ino, ~std::uint64_t{0}), ino);
}

TEST_F(NamespaceLifetimeTest, removed_directory_that_is_open_is_empty_for_ever) {
  const Ino dir = directory(kRootIno, "d");
  const Ino other = file(kRootIno, "f");
  ASSERT_TRUE(names().open(dir));
  ASSERT_TRUE(remove_directory(kRootIno, "d"));
  EXPECT_EQ(stat(dir).nlink, 0U);
  EXPECT_EQ(stat(dir).ctime, now());
  EXPECT_EQ(error_of(names().lookup(dir, "x")), ErrorCode::kNotFound);
  EXPECT_EQ(error_of(names().lookup(dir, "..")), ErrorCode::kNotFound);
  EXPECT_EQ(error_of(create(dir, "x", S_IFREG)), ErrorCode::kNotFound);
  EXPECT_EQ(error_of(link(other, dir, "x")), ErrorCode::kNotFound);
  EXPECT_EQ(error_of(rename(kRootIno, "f", dir, "x")), ErrorCode::kNotFound);
  EXPECT_EQ(error_of(names().read_directory(dir, 0, [](const DirectoryItem&) { return true; })),
            ErrorCode::kNotFound);
  EXPECT_EQ(names().close(dir), dir);
}

TEST_F(NamespaceLifetimeTest, directory_replaced_by_rename_is_dead_while_known) {
  directory(kRootIno, "a");
  const Ino replaced = directory(kRootIno, "b");
  ASSERT_TRUE(names().add_lookup(replaced));
  const auto outcome = rename(kRootIno, "a", kRootIno, "b");
  ASSERT_TRUE(outcome);
  EXPECT_FALSE(outcome->destroyed);
  EXPECT_EQ(error_of(create(replaced, "x", S_IFREG)), ErrorCode::kNotFound);
  EXPECT_EQ(names().forget(replaced, 1), replaced);
}

TEST_F(NamespaceLifetimeTest, dead_directory_outlives_its_parent) {
  const Ino outer = directory(kRootIno, "outer");
  const Ino inner = directory(outer, "inner");
  ASSERT_TRUE(names().open(inner));
  ASSERT_TRUE(remove_directory(outer, "inner"));
  EXPECT_EQ(remove_directory(kRootIno, "outer")->destroyed, outer);
  EXPECT_EQ(error_of(names().lookup(inner, "..")), ErrorCode::kNotFound);
  EXPECT_EQ(names().close(inner), inner);
}

TEST_F(NamespaceLifetimeTest, the_end_of_a_mount_destroys_what_has_no_name_and_keeps_the_tree) {
  const Ino kept = file(kRootIno, "kept");
  const Ino opened = file(kRootIno, "opened");
  const Ino known = directory(kRootIno, "known");
  ASSERT_TRUE(names().open(kept));
  ASSERT_TRUE(names().open(opened));
  ASSERT_TRUE(names().add_lookup(known));
  ASSERT_TRUE(names().add_lookup(kRootIno));
  ASSERT_TRUE(unlink(kRootIno, "opened"));
  ASSERT_TRUE(remove_directory(kRootIno, "known"));
  std::vector<Ino> destroyed;
  names().drop_all_references([&](Ino ino) { destroyed.push_back(ino); });
  EXPECT_EQ(destroyed, (std::vector{opened, known}));
  EXPECT_EQ(names().usage().inodes_used, 2U);
  EXPECT_EQ(unlink(kRootIno, "kept")->destroyed, kept);
}

TEST_F(NamespaceLifetimeTest, inodes_without_a_name_are_counted_and_enumerated) {
  const Ino ino = file(kRootIno, "f");
  ASSERT_TRUE(names().open(ino));
  ASSERT_TRUE(unlink(kRootIno, "f"));
  EXPECT_EQ(names().usage().inodes_used, 2U);
  std::vector<Ino> found;
  names().for_each_inode([&](const Attributes& inode) { found.push_back(inode.ino); });
  EXPECT_EQ(found.size(), 2U);
}

class NamespaceUnnamedTest : public NamespaceLifetimeTest {
 protected:
  Attributes unnamed(bool may_be_linked) {
    const auto made = names().apply(CreateUnnamed{.parent = kRootIno,
                                                  .mode = 0666,
                                                  .uid = 10,
                                                  .gid = 20,
                                                  .umask = 027,
                                                  .may_be_linked = may_be_linked,
                                                  .at = tick()});
    EXPECT_TRUE(made.has_value());
    return made ? made->attributes : Attributes{};
  }
};

TEST_F(NamespaceUnnamedTest, file_without_a_name_lives_by_its_lookup) {
  const Timestamp before = stat(kRootIno).mtime;
  const Attributes made = unnamed(true);
  EXPECT_EQ(made.nlink, 0U);
  EXPECT_EQ(made.mode, S_IFREG | 0640U);
  EXPECT_EQ(stat(kRootIno).mtime, before);
  EXPECT_TRUE(list(kRootIno).empty());
  EXPECT_EQ(names().forget(made.ino, 1), made.ino);
  EXPECT_FALSE(exists(made.ino));
}

TEST_F(NamespaceUnnamedTest, link_gives_the_first_name_once) {
  const Ino ino = unnamed(true).ino;
  const auto linked = link(ino, kRootIno, "named");
  ASSERT_TRUE(linked);
  EXPECT_EQ(linked->attributes.nlink, 1U);
  ASSERT_TRUE(unlink(kRootIno, "named"));
  EXPECT_EQ(error_of(link(ino, kRootIno, "again")), ErrorCode::kNotFound);
}

TEST_F(NamespaceUnnamedTest, what_was_made_to_have_no_name_gets_none) {
  EXPECT_EQ(error_of(link(unnamed(false).ino, kRootIno, "named")), ErrorCode::kNotFound);
}

TEST_F(NamespaceUnnamedTest, end_of_a_mount_destroys_it) {
  const Ino ino = unnamed(true).ino;
  std::vector<Ino> destroyed;
  names().drop_all_references([&](Ino gone) { destroyed.push_back(gone); });
  EXPECT_EQ(destroyed, (std::vector{ino}));
}

}  // namespace
}  // namespace rram
