// A namespace is a function of the records that it accepted.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "fusefs/namespace/namespace.h"
#include "tests/unit/namespace/random_records.h"

namespace rram {
namespace {

// All that can be asked about the tree below the root.
struct Snapshot {
  std::map<Ino, Attributes> inodes;
  std::map<Ino, std::vector<std::tuple<std::uint64_t, std::string, Ino>>> entries;
  std::map<Ino, std::map<std::string, std::string>> xattrs;
  std::map<Ino, std::string> targets;
  bool operator==(const Snapshot&) const = default;
};

void add_tree(const Namespace& names, Ino ino, Snapshot& snapshot) {
  snapshot.inodes[ino] = names.attributes(ino).value();
  names
      .list_xattrs(ino,
                   [&](std::string_view name) {
                     snapshot.xattrs[ino].emplace(name, names.xattr(ino, name).value());
                   })
      .value();
  if (const auto target = names.read_symlink(ino)) {
    snapshot.targets[ino] = *target;
  }
  if (!is_directory(snapshot.inodes[ino].mode)) {
    return;
  }
  names
      .read_directory(ino, 0,
                      [&](const DirectoryItem& item) {
                        snapshot.entries[ino].emplace_back(item.cookie, item.name,
                                                           item.attributes.ino);
                        if (item.cookie > kDotDotCookie) {
                          add_tree(names, item.attributes.ino, snapshot);
                        }
                        return true;
                      })
      .value();
}

Snapshot snapshot_of(const Namespace& names) {
  Snapshot snapshot;
  add_tree(names, kRootIno, snapshot);
  return snapshot;
}

class NamespaceReplayTest : public testing::TestWithParam<std::uint64_t> {
 protected:
  // A life with open files and kernel lookups; the records that were accepted.
  std::vector<Record> live(Namespace& names) {
    RandomRecords records(GetParam());
    std::vector<Record> journal;
    int opened = 0;
    for (int step = 0; step < 5'000; ++step) {
      std::vector<Ino> directories;
      std::vector<Ino> others;
      names.for_each_inode([&](const Attributes& inode) {
        (is_directory(inode.mode) ? directories : others).push_back(inode.ino);
      });
      std::sort(directories.begin(), directories.end());
      std::sort(others.begin(), others.end());
      records.set_inodes(directories, others);
      const Record record = records.next();
      if (names.apply(record)) {
        journal.push_back(record);
      }
      if (records.below(8) == 0) {
        opened += names.open(records.any_inode()) ? 1 : 0;
      }
      if (records.below(3) == 0) {
        static_cast<void>(names.close(records.any_inode()));
      }
    }
    EXPECT_GT(opened, 0);
    return journal;
  }
};

TEST_P(NamespaceReplayTest, accepted_records_make_the_same_tree_again) {
  NamespaceLimits limits = tight_limits();
  limits.max_inodes = 10'000;  // what is open counts too, so how full it is may differ
  Namespace names(limits, RootAttributes{}, 1);
  const std::vector<Record> journal = live(names);
  ASSERT_GT(journal.size(), 1'000U);

  Namespace replayed(limits, RootAttributes{}, 1);
  std::size_t stale = 0;
  for (const Record& record : journal) {
    if (const auto outcome = replayed.apply(record); !outcome) {
      // What only an open handle kept alive is not there any more, and nothing else is missing.
      ASSERT_EQ(outcome.error().code, ErrorCode::kStale);
      ++stale;
    }
  }
  EXPECT_GT(stale, 0U);
  EXPECT_EQ(snapshot_of(replayed), snapshot_of(names));

  // The two go on alike: the next number and the next cookie are the same too.
  const Create next{.parent = kRootIno, .name = "next", .mode = S_IFREG};
  names.drop_all_references([](Ino) {});
  ASSERT_TRUE(names.apply(next));
  ASSERT_TRUE(replayed.apply(next));
  EXPECT_EQ(snapshot_of(replayed), snapshot_of(names));
}

TEST_P(NamespaceReplayTest, refused_records_change_nothing) {
  Namespace names(tight_limits(), RootAttributes{}, 1);
  RandomRecords records(GetParam());
  for (int step = 0; step < 2'000; ++step) {
    const Snapshot before = snapshot_of(names);
    if (!names.apply(records.next())) {
      ASSERT_EQ(snapshot_of(names), before) << "step " << step;
    }
    std::vector<Ino> directories;
    std::vector<Ino> others;
    for (const auto& [ino, attributes] : before.inodes) {
      (is_directory(attributes.mode) ? directories : others).push_back(ino);
    }
    records.set_inodes(directories, others);
  }
}

INSTANTIATE_TEST_SUITE_P(seeds, NamespaceReplayTest, testing::Values(11, 12, 13, 14));

}  // namespace
}  // namespace rram
