// SetAttributes, Extend, Touch.
#include <gtest/gtest.h>

#include "tests/unit/namespace/namespace_fixture.h"

namespace rram {
namespace {

class NamespaceAttributesTest : public NamespaceTest {
 protected:
  Attributes set(SetAttributes change) {
    change.at = tick();
    const auto outcome = names().apply(change);
    EXPECT_TRUE(outcome);
    return outcome ? outcome->attributes : Attributes{};
  }
  Attributes extend(Ino ino, std::uint64_t size_bytes) {
    const auto outcome = names().apply(Extend{.ino = ino, .size_bytes = size_bytes, .at = tick()});
    EXPECT_TRUE(outcome);
    return outcome ? outcome->attributes : Attributes{};
  }

  Ino file_ = file(kRootIno, "f");
};

TEST_F(NamespaceAttributesTest, chmod_changes_permission_bits_only_and_ctime) {
  Attributes expected = stat(file_);
  const Attributes changed = set({.ino = file_, .mode = S_IFDIR | 07711});
  expected.mode = S_IFREG | 07711;
  expected.ctime = now();
  EXPECT_EQ(changed, expected);
  EXPECT_EQ(stat(file_), expected);
}

TEST_F(NamespaceAttributesTest, chown_changes_what_is_given_and_ctime) {
  Attributes expected = stat(file_);
  const Attributes owned = set({.ino = file_, .uid = 77});
  expected.uid = 77;
  expected.ctime = now();
  EXPECT_EQ(owned, expected);
  EXPECT_EQ(set({.ino = file_, .gid = 88}).gid, 88U);
  EXPECT_EQ(stat(file_).uid, 77U);
}

TEST_F(NamespaceAttributesTest, truncate_sets_the_size_and_mtime_even_to_the_same_size) {
  EXPECT_EQ(set({.ino = file_, .size_bytes = 5000}).size_bytes, 5000U);
  EXPECT_EQ(stat(file_).mtime, now());
  EXPECT_EQ(set({.ino = file_, .size_bytes = 100}).size_bytes, 100U);
  EXPECT_EQ(set({.ino = file_, .size_bytes = 100}).size_bytes, 100U);
  EXPECT_EQ(stat(file_).mtime, now());
  EXPECT_EQ(stat(file_).ctime, now());
  EXPECT_LT(stat(file_).atime, now());
}

TEST_F(NamespaceAttributesTest, times_are_set_as_given) {
  const Timestamp atime{.seconds = -5, .nanoseconds = 999'999'999};
  const Timestamp mtime{.seconds = std::int64_t{1} << 40, .nanoseconds = 1};
  const Timestamp ctime{.seconds = 3, .nanoseconds = 0};
  Attributes expected = stat(file_);
  expected.atime = atime;
  expected.mtime = mtime;
  const Attributes changed = set({.ino = file_, .atime = atime, .mtime = mtime});
  expected.ctime = now();
  EXPECT_EQ(changed, expected);
  EXPECT_EQ(set({.ino = file_, .ctime = ctime}).ctime, ctime);
  EXPECT_EQ(set({.ino = file_, .size_bytes = 9, .mtime = mtime}).mtime, mtime);
}

TEST_F(NamespaceAttributesTest, change_of_nothing_changes_ctime) {
  Attributes expected = stat(file_);
  const Attributes changed = set({.ino = file_});
  expected.ctime = now();
  EXPECT_EQ(changed, expected);
}

TEST_F(NamespaceAttributesTest, bad_times_are_refused_and_nothing_changes) {
  const Attributes before = stat(file_);
  const Timestamp bad{.seconds = 1, .nanoseconds = 1'000'000'000};
  EXPECT_EQ(error_of(names().apply(SetAttributes{.ino = file_, .uid = 1, .atime = bad})),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of(names().apply(SetAttributes{.ino = file_, .uid = 1, .mtime = bad})),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of(names().apply(SetAttributes{.ino = file_, .uid = 1, .ctime = bad})),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(stat(file_), before);
}

TEST_F(NamespaceAttributesTest, set_id_bits_go_when_asked) {
  const auto cleared = [&](std::uint32_t mode, ClearSetId which = ClearSetId::kExecutable) {
    return set({.ino = file_, .mode = mode, .clear_set_id = which}).mode & kModePermissionBits;
  };
  EXPECT_EQ(cleared(06755), 0755U);
  EXPECT_EQ(cleared(06755, ClearSetId::kNone), 06755U);
  EXPECT_EQ(cleared(06745, ClearSetId::kAll), 0745U);
  EXPECT_EQ(cleared(06745), 02745U);  // no group execution: not a set-group-id program
  EXPECT_EQ(cleared(01755), 01755U);
  const Ino dir = directory(kRootIno, "d");
  EXPECT_EQ(set({.ino = dir, .mode = 02755, .clear_set_id = ClearSetId::kAll}).mode,
            S_IFDIR | 02755U);
}

TEST_F(NamespaceAttributesTest, extend_grows_and_never_shrinks) {
  EXPECT_EQ(extend(file_, 4096).size_bytes, 4096U);
  EXPECT_EQ(stat(file_).mtime, now());
  EXPECT_EQ(extend(file_, 10).size_bytes, 4096U);
  EXPECT_EQ(stat(file_).mtime, now());
  EXPECT_EQ(stat(file_).ctime, now());
  EXPECT_LT(stat(file_).atime, now());
}

TEST_F(NamespaceAttributesTest, size_beyond_the_largest_file_is_too_big) {
  const std::uint64_t largest_bytes = NamespaceLimits{}.max_file_bytes;
  EXPECT_EQ(extend(file_, largest_bytes).size_bytes, largest_bytes);
  EXPECT_EQ(error_of(names().apply(Extend{.ino = file_, .size_bytes = largest_bytes + 1})),
            ErrorCode::kFileTooBig);
  EXPECT_EQ(error_of(names().apply(SetAttributes{.ino = file_, .size_bytes = ~std::uint64_t{0}})),
            ErrorCode::kFileTooBig);
}

TEST_F(NamespaceAttributesTest, only_regular_files_have_a_size_to_set) {
  const Ino dir = directory(kRootIno, "d");
  const Ino fifo = create(kRootIno, "p", S_IFIFO | 0600)->attributes.ino;
  EXPECT_EQ(error_of(names().apply(SetAttributes{.ino = dir, .size_bytes = 1})),
            ErrorCode::kIsDirectory);
  EXPECT_EQ(error_of(names().apply(SetAttributes{.ino = fifo, .size_bytes = 1})),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of(names().apply(Extend{.ino = dir, .size_bytes = 1})), ErrorCode::kIsDirectory);
  EXPECT_EQ(error_of(names().apply(Extend{.ino = fifo, .size_bytes = 1})),
            ErrorCode::kInvalidArgument);
}

TEST_F(NamespaceAttributesTest, refused_size_changes_nothing_else) {
  const Ino dir = directory(kRootIno, "d");
  const Attributes before = stat(dir);
  EXPECT_FALSE(names().apply(SetAttributes{.ino = dir, .mode = 0, .size_bytes = 1, .at = tick()}));
  EXPECT_EQ(stat(dir), before);
}

TEST_F(NamespaceAttributesTest, touch_sets_the_chosen_times_only) {
  Attributes expected = stat(file_);
  ASSERT_TRUE(names().apply(Touch{.ino = file_, .atime = true, .at = tick()}));
  expected.atime = now();
  EXPECT_EQ(stat(file_), expected);
  ASSERT_TRUE(names().apply(Touch{.ino = file_, .mtime = true, .ctime = true, .at = tick()}));
  expected.mtime = now();
  expected.ctime = now();
  EXPECT_EQ(stat(file_), expected);
}

TEST_F(NamespaceAttributesTest, changes_of_an_inode_that_is_gone_are_stale) {
  ASSERT_TRUE(unlink(kRootIno, "f"));
  EXPECT_EQ(error_of(names().attributes(file_)), ErrorCode::kStale);
  EXPECT_EQ(error_of(names().apply(SetAttributes{.ino = file_})), ErrorCode::kStale);
  EXPECT_EQ(error_of(names().apply(Extend{.ino = file_})), ErrorCode::kStale);
  EXPECT_EQ(error_of(names().apply(Touch{.ino = file_})), ErrorCode::kStale);
  EXPECT_EQ(error_of(link(file_, kRootIno, "g")), ErrorCode::kStale);
}

}  // namespace
}  // namespace rram
