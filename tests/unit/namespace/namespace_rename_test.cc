// Rename in its three modes.
#include <gtest/gtest.h>

#include "tests/unit/namespace/namespace_fixture.h"

namespace rram {
namespace {

using Names = std::vector<std::string>;

class NamespaceRenameTest : public NamespaceTest {
 protected:
  Ino d1_ = directory(kRootIno, "d1");
  Ino d2_ = directory(kRootIno, "d2");
};

TEST_F(NamespaceRenameTest, file_moves_between_directories) {
  const Ino ino = file(d1_, "a");
  const auto moved = rename(d1_, "a", d2_, "b");
  ASSERT_TRUE(moved);
  EXPECT_EQ(moved->attributes.ino, ino);
  EXPECT_EQ(moved->attributes.ctime, now());
  EXPECT_LT(moved->attributes.mtime, now());
  EXPECT_EQ(ino_of(d1_, "a"), 0U);
  EXPECT_EQ(ino_of(d2_, "b"), ino);
  EXPECT_EQ(stat(d1_).mtime, now());
  EXPECT_EQ(stat(d1_).ctime, now());
  EXPECT_EQ(stat(d2_).mtime, now());
  EXPECT_EQ(stat(d2_).ctime, now());
}

TEST_F(NamespaceRenameTest, file_over_file_destroys_the_replaced_one) {
  const Ino ino = file(d1_, "a");
  const Ino other = file(d2_, "b");
  const auto moved = rename(d1_, "a", d2_, "b");
  ASSERT_TRUE(moved);
  EXPECT_EQ(moved->destroyed, other);
  EXPECT_EQ(ino_of(d2_, "b"), ino);
  EXPECT_EQ(list(d1_), Names{});
  EXPECT_EQ(list(d2_), Names{"b"});
}

TEST_F(NamespaceRenameTest, replaced_file_with_another_name_loses_a_link_only) {
  file(d1_, "a");
  const Ino other = file(d2_, "b");
  ASSERT_TRUE(link(other, d2_, "c"));
  const auto moved = rename(d1_, "a", d2_, "b");
  ASSERT_TRUE(moved);
  EXPECT_FALSE(moved->destroyed);
  EXPECT_EQ(stat(other).nlink, 1U);
  EXPECT_EQ(stat(other).ctime, now());
}

TEST_F(NamespaceRenameTest, replaced_file_that_is_open_stays) {
  file(d1_, "a");
  const Ino other = file(d2_, "b");
  ASSERT_TRUE(names().open(other));
  const auto moved = rename(d1_, "a", d2_, "b");
  ASSERT_TRUE(moved);
  EXPECT_FALSE(moved->destroyed);
  EXPECT_EQ(stat(other).nlink, 0U);
  EXPECT_EQ(names().close(other), other);
}

TEST_F(NamespaceRenameTest, directory_moves_with_its_dot_dot_link) {
  const Ino dir = directory(d1_, "x");
  file(dir, "inside");
  ASSERT_TRUE(rename(d1_, "x", d2_, "y"));
  EXPECT_EQ(stat(d1_).nlink, 2U);
  EXPECT_EQ(stat(d2_).nlink, 3U);
  EXPECT_EQ(ino_of(dir, ".."), d2_);
  EXPECT_EQ(list(dir), Names{"inside"});
}

TEST_F(NamespaceRenameTest, directory_over_empty_directory_replaces_it) {
  const Ino dir = directory(d1_, "x");
  const Ino other = directory(d2_, "y");
  const auto moved = rename(d1_, "x", d2_, "y");
  ASSERT_TRUE(moved);
  EXPECT_EQ(moved->destroyed, other);
  EXPECT_EQ(ino_of(d2_, "y"), dir);
  EXPECT_EQ(stat(d1_).nlink, 2U);
  EXPECT_EQ(stat(d2_).nlink, 3U);
}

TEST_F(NamespaceRenameTest, directory_over_empty_directory_beside_it_drops_one_link) {
  ASSERT_TRUE(rename(kRootIno, "d1", kRootIno, "d2"));
  EXPECT_EQ(stat(kRootIno).nlink, 3U);
  EXPECT_EQ(ino_of(kRootIno, "d2"), d1_);
}

TEST_F(NamespaceRenameTest, directory_over_directory_with_entries_is_refused) {
  file(d2_, "x");
  EXPECT_EQ(error_of(rename(kRootIno, "d1", kRootIno, "d2")), ErrorCode::kNotEmpty);
  EXPECT_EQ(ino_of(kRootIno, "d1"), d1_);
}

TEST_F(NamespaceRenameTest, over_another_kind_of_inode_is_refused) {
  file(kRootIno, "f");
  EXPECT_EQ(error_of(rename(kRootIno, "d1", kRootIno, "f")), ErrorCode::kNotDirectory);
  EXPECT_EQ(error_of(rename(kRootIno, "f", kRootIno, "d1")), ErrorCode::kIsDirectory);
}

TEST_F(NamespaceRenameTest, symlink_to_a_directory_is_no_directory) {
  ASSERT_TRUE(make_symlink(kRootIno, "s", "d1"));
  EXPECT_EQ(error_of(rename(kRootIno, "d1", kRootIno, "s")), ErrorCode::kNotDirectory);
  EXPECT_EQ(error_of(rename(kRootIno, "s", kRootIno, "d1")), ErrorCode::kIsDirectory);
}

TEST_F(NamespaceRenameTest, directory_into_itself_or_below_is_refused) {
  const Ino inner = directory(d1_, "inner");
  const Ino deepest = directory(inner, "deepest");
  EXPECT_EQ(error_of(rename(kRootIno, "d1", d1_, "x")), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of(rename(kRootIno, "d1", inner, "x")), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of(rename(kRootIno, "d1", deepest, "x")), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of(rename(kRootIno, "d1", d1_, "inner", RenameMode::kExchange)),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of(rename(d1_, "inner", kRootIno, "d1", RenameMode::kExchange)),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of(rename(d1_, "inner", kRootIno, "d1")), ErrorCode::kNotEmpty);
}

TEST_F(NamespaceRenameTest, two_names_of_one_inode_stay_as_they_are) {
  const Ino ino = file(d1_, "a");
  ASSERT_TRUE(link(ino, d2_, "b"));
  const Attributes before = stat(ino);
  const Attributes directory_before = stat(d1_);
  for (const RenameMode mode : {RenameMode::kReplace, RenameMode::kExchange}) {
    const auto outcome = rename(d1_, "a", d2_, "b", mode);
    ASSERT_TRUE(outcome);
    EXPECT_FALSE(outcome->destroyed);
  }
  EXPECT_EQ(ino_of(d1_, "a"), ino);
  EXPECT_EQ(ino_of(d2_, "b"), ino);
  EXPECT_EQ(stat(ino), before);
  EXPECT_EQ(stat(d1_), directory_before);
}

TEST_F(NamespaceRenameTest, to_its_own_name_does_nothing) {
  const Attributes before = stat(kRootIno);
  EXPECT_TRUE(rename(kRootIno, "d1", kRootIno, "d1"));
  EXPECT_EQ(stat(kRootIno), before);
}

TEST_F(NamespaceRenameTest, missing_names_are_not_found) {
  file(kRootIno, "f");
  EXPECT_EQ(error_of(rename(kRootIno, "x", kRootIno, "y")), ErrorCode::kNotFound);
  EXPECT_EQ(error_of(rename(kRootIno, "f", kRootIno, "y", RenameMode::kExchange)),
            ErrorCode::kNotFound);
}

TEST_F(NamespaceRenameTest, no_replace_refuses_what_exists_and_allows_what_does_not) {
  const Ino ino = file(kRootIno, "f");
  EXPECT_EQ(error_of(rename(kRootIno, "f", kRootIno, "d1", RenameMode::kNoReplace)),
            ErrorCode::kExists);
  EXPECT_EQ(error_of(rename(kRootIno, "f", kRootIno, "f", RenameMode::kNoReplace)),
            ErrorCode::kExists);
  EXPECT_TRUE(rename(kRootIno, "f", d1_, "g", RenameMode::kNoReplace));
  EXPECT_EQ(ino_of(d1_, "g"), ino);
}

TEST_F(NamespaceRenameTest, exchange_of_a_file_and_a_directory_swaps_them_and_the_links) {
  const Ino ino = file(d1_, "f");
  const Ino dir = directory(d2_, "x");
  file(dir, "inside");
  const auto swapped = rename(d1_, "f", d2_, "x", RenameMode::kExchange);
  ASSERT_TRUE(swapped);
  EXPECT_EQ(swapped->attributes.ino, ino);
  EXPECT_FALSE(swapped->destroyed);
  EXPECT_EQ(ino_of(d1_, "f"), dir);
  EXPECT_EQ(ino_of(d2_, "x"), ino);
  EXPECT_EQ(ino_of(dir, ".."), d1_);
  EXPECT_EQ(stat(d1_).nlink, 3U);
  EXPECT_EQ(stat(d2_).nlink, 2U);
  EXPECT_EQ(stat(ino).ctime, now());
  EXPECT_EQ(stat(dir).ctime, now());
  EXPECT_EQ(stat(d1_).mtime, now());
  EXPECT_EQ(stat(d2_).mtime, now());
}

TEST_F(NamespaceRenameTest, exchange_of_two_directories_keeps_the_counts) {
  const Ino a = directory(d1_, "a");
  const Ino b = directory(d2_, "b");
  file(a, "in-a");
  ASSERT_TRUE(rename(d1_, "a", d2_, "b", RenameMode::kExchange));
  EXPECT_EQ(ino_of(a, ".."), d2_);
  EXPECT_EQ(ino_of(b, ".."), d1_);
  EXPECT_EQ(stat(d1_).nlink, 3U);
  EXPECT_EQ(stat(d2_).nlink, 3U);
}

TEST_F(NamespaceRenameTest, directory_into_a_directory_with_most_links_is_too_many) {
  restart({.max_links = 4});
  const Ino full = directory(kRootIno, "full");
  const Ino other = directory(kRootIno, "other");
  directory(full, "s1");
  directory(full, "s2");
  directory(other, "x");
  file(full, "f");
  EXPECT_EQ(error_of(rename(other, "x", full, "x")), ErrorCode::kTooManyLinks);
  EXPECT_EQ(error_of(rename(other, "x", full, "f", RenameMode::kExchange)),
            ErrorCode::kTooManyLinks);
  EXPECT_EQ(error_of(rename(full, "f", other, "x", RenameMode::kExchange)),
            ErrorCode::kTooManyLinks);
  EXPECT_TRUE(rename(full, "s1", full, "s3"));
  EXPECT_TRUE(rename(other, "x", full, "s2"));
  EXPECT_EQ(stat(full).nlink, 4U);
}

TEST_F(NamespaceRenameTest, whiteout_stays_where_the_name_was) {
  const Ino ino = file(d1_, "f");
  Rename leaving{.old_parent = d1_,
                 .old_name = "f",
                 .new_parent = d2_,
                 .new_name = "g",
                 .whiteout = Whiteout{.uid = 3, .gid = 4},
                 .at = tick()};
  ASSERT_TRUE(names().apply(leaving));
  EXPECT_EQ(ino_of(d2_, "g"), ino);
  const Attributes whiteout = stat(ino_of(d1_, "f"));
  EXPECT_EQ(whiteout.mode, static_cast<std::uint32_t>(S_IFCHR));
  EXPECT_EQ(whiteout.rdev, 0U);
  EXPECT_EQ(whiteout.nlink, 1U);
  EXPECT_EQ(whiteout.uid, 3U);
  EXPECT_EQ(whiteout.gid, 4U);
  // Of a directory, too: what is left behind is none.
  directory(d1_, "d");
  leaving.old_name = "d";
  leaving.new_name = "e";
  ASSERT_TRUE(names().apply(leaving));
  EXPECT_EQ(stat(d1_).nlink, 2U);
  EXPECT_EQ(stat(d2_).nlink, 3U);
}

TEST_F(NamespaceRenameTest, whiteout_is_refused_in_an_exchange_and_where_no_inode_is_left) {
  restart({.max_inodes = 3});
  const Rename leaving{.old_parent = kRootIno,
                       .old_name = "a",
                       .new_parent = kRootIno,
                       .new_name = "b",
                       .whiteout = Whiteout{},
                       .at = tick()};
  file(kRootIno, "a");
  file(kRootIno, "b");
  Rename exchange = leaving;
  exchange.mode = RenameMode::kExchange;
  EXPECT_EQ(error_of(names().apply(exchange)), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of(names().apply(leaving)), ErrorCode::kNoSpace);
  EXPECT_NE(ino_of(kRootIno, "a"), ino_of(kRootIno, "b"));
}

}  // namespace
}  // namespace rram
