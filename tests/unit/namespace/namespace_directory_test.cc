// Reading directories while they change.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "tests/unit/namespace/namespace_fixture.h"

namespace rram {
namespace {

using Names = std::vector<std::string>;

class NamespaceDirectoryTest : public NamespaceTest {
 protected:
  // Reads up to `count` entries behind `cookie`, which moves on.
  Names read_some(Ino ino, std::uint64_t& cookie, std::size_t count) const {
    Names found;
    if (count == 0) {
      return found;
    }
    EXPECT_TRUE(names().read_directory(ino, cookie, [&](const DirectoryItem& item) {
      EXPECT_GT(item.cookie, cookie);
      cookie = item.cookie;
      found.emplace_back(item.name);
      return found.size() < count;
    }));
    return found;
  }
  Names read_all(Ino ino) const {
    std::uint64_t cookie = 0;
    return read_some(ino, cookie, SIZE_MAX);
  }
};

TEST_F(NamespaceDirectoryTest, dot_and_dot_dot_come_first_with_their_inodes) {
  const Ino dir = directory(kRootIno, "d");
  const Ino ino = file(dir, "f");
  std::vector<DirectoryItem> items;
  ASSERT_TRUE(names().read_directory(dir, 0, [&](const DirectoryItem& item) {
    items.push_back({.cookie = item.cookie, .name = {}, .attributes = item.attributes});
    return true;
  }));
  ASSERT_EQ(items.size(), 3U);
  EXPECT_EQ(items[0].cookie, kDotCookie);
  EXPECT_EQ(items[0].attributes, stat(dir));
  EXPECT_EQ(items[1].cookie, kDotDotCookie);
  EXPECT_EQ(items[1].attributes, stat(kRootIno));
  EXPECT_EQ(items[2].cookie, kFirstEntryCookie);
  EXPECT_EQ(items[2].attributes, stat(ino));
  EXPECT_EQ(read_all(dir), (Names{".", "..", "f"}));
}

TEST_F(NamespaceDirectoryTest, attributes_tell_whether_a_file_has_had_several_names) {
  const Ino ino = file(kRootIno, "a");
  EXPECT_FALSE(stat(ino).was_linked);
  ASSERT_TRUE(link(ino, kRootIno, "b"));
  EXPECT_TRUE(stat(ino).was_linked);
  ASSERT_TRUE(unlink(kRootIno, "b"));
  EXPECT_TRUE(stat(ino).was_linked);
}

TEST_F(NamespaceDirectoryTest, root_is_its_own_parent) {
  EXPECT_EQ(read_all(kRootIno), (Names{".", ".."}));
}

TEST_F(NamespaceDirectoryTest, reading_goes_on_where_it_stopped) {
  for (const char* name : {"a", "b", "c", "d"}) {
    file(kRootIno, name);
  }
  std::uint64_t cookie = 0;
  EXPECT_EQ(read_some(kRootIno, cookie, 1), Names{"."});
  EXPECT_EQ(read_some(kRootIno, cookie, 2), (Names{"..", "a"}));
  EXPECT_EQ(read_some(kRootIno, cookie, 2), (Names{"b", "c"}));
  EXPECT_EQ(read_some(kRootIno, cookie, 9), Names{"d"});
  EXPECT_EQ(read_some(kRootIno, cookie, 9), Names{});
}

TEST_F(NamespaceDirectoryTest, removing_the_entry_last_read_loses_no_other) {
  for (const char* name : {"a", "b", "c"}) {
    file(kRootIno, name);
  }
  std::uint64_t cookie = kDotDotCookie;
  EXPECT_EQ(read_some(kRootIno, cookie, 2), (Names{"a", "b"}));
  ASSERT_TRUE(unlink(kRootIno, "b"));
  ASSERT_TRUE(unlink(kRootIno, "a"));
  EXPECT_EQ(read_some(kRootIno, cookie, 9), Names{"c"});
}

TEST_F(NamespaceDirectoryTest, entry_made_again_is_read_again_at_the_end) {
  for (const char* name : {"a", "b"}) {
    file(kRootIno, name);
  }
  std::uint64_t cookie = kDotDotCookie;
  EXPECT_EQ(read_some(kRootIno, cookie, 1), Names{"a"});
  ASSERT_TRUE(unlink(kRootIno, "a"));
  file(kRootIno, "a");
  EXPECT_EQ(read_some(kRootIno, cookie, 9), (Names{"b", "a"}));
}

TEST_F(NamespaceDirectoryTest, replaced_and_exchanged_names_are_read_once) {
  for (const char* name : {"a", "b", "c"}) {
    file(kRootIno, name);
  }
  std::uint64_t cookie = kDotDotCookie;
  EXPECT_EQ(read_some(kRootIno, cookie, 2), (Names{"a", "b"}));
  ASSERT_TRUE(rename(kRootIno, "c", kRootIno, "a"));
  ASSERT_TRUE(rename(kRootIno, "a", kRootIno, "b", RenameMode::kExchange));
  EXPECT_EQ(read_some(kRootIno, cookie, 9), Names{});
  EXPECT_EQ(list(kRootIno), (Names{"a", "b"}));
}

TEST_F(NamespaceDirectoryTest, visitor_may_count_lookups) {
  const Ino ino = file(kRootIno, "a");
  ASSERT_TRUE(names().read_directory(kRootIno, kDotDotCookie, [&](const DirectoryItem& item) {
    EXPECT_TRUE(names().add_lookup(item.attributes.ino));
    return true;
  }));
  EXPECT_FALSE(unlink(kRootIno, "a")->destroyed);
  EXPECT_EQ(names().forget(ino, 1), ino);
}

TEST_F(NamespaceDirectoryTest, reading_what_is_no_directory_is_refused) {
  const auto nothing = [](const DirectoryItem&) { return true; };
  EXPECT_EQ(error_of(names().read_directory(file(kRootIno, "f"), 0, nothing)),
            ErrorCode::kNotDirectory);
  EXPECT_EQ(error_of(names().read_directory(99, 0, nothing)), ErrorCode::kStale);
}

// Entries that are there from the first to the last call are seen exactly once, by readers of
// every buffer size, whatever else comes and goes in between.
TEST_F(NamespaceDirectoryTest, entries_that_stay_are_seen_exactly_once_under_change) {
  constexpr int kStaying = 300;
  std::mt19937 random(20240613);
  std::set<std::string> staying;
  std::set<std::string> passing;
  for (int i = 0; i < kStaying; ++i) {
    file(kRootIno, *staying.insert("stay" + std::to_string(i)).first);
    file(kRootIno, *passing.insert("pass" + std::to_string(i)).first);
  }
  for (std::size_t buffer_entries : {1U, 2U, 7U, 50U, 1000U}) {
    std::multiset<std::string> seen;
    std::uint64_t cookie = kDotDotCookie;
    for (Names part; !(part = read_some(kRootIno, cookie, buffer_entries)).empty();) {
      seen.insert(part.begin(), part.end());
      for (int change = 0; change < 3 && !passing.empty(); ++change) {
        const std::string name =
            *std::next(passing.begin(), static_cast<std::ptrdiff_t>(random() % passing.size()));
        ASSERT_TRUE(unlink(kRootIno, name));
        passing.erase(name);
      }
      if (seen.size() < kStaying) {
        file(kRootIno, *passing.insert("pass" + std::to_string(random())).first);
      }
    }
    for (const std::string& name : staying) {
      EXPECT_EQ(seen.count(name), 1U) << name << " with " << buffer_entries;
    }
  }
}

TEST_F(NamespaceDirectoryTest, emptied_directory_gives_its_memory_back) {
  const std::uint64_t before_bytes = names().usage().memory_bytes;
  constexpr std::uint64_t kFiles = 20'000;
  for (std::uint64_t i = 0; i < kFiles; ++i) {
    file(kRootIno, "file" + std::to_string(i));
  }
  EXPECT_GT(names().usage().memory_bytes, before_bytes + kFiles * 150);
  for (std::uint64_t i = 0; i < kFiles; ++i) {
    ASSERT_TRUE(unlink(kRootIno, "file" + std::to_string(i)));
  }
  EXPECT_LT(names().usage().memory_bytes, before_bytes + 8192);
  file(kRootIno, "again");
  EXPECT_EQ(list(kRootIno), Names{"again"});
}

}  // namespace
}  // namespace rram
