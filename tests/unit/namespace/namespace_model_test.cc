// The namespace against the naive model: random changes, compared answer by answer and, often, as a
// whole. Most seeds are fixed; one is new in each run and printed, and RRAM_TEST_SEED=N chooses it.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "fusefs/namespace/namespace.h"
#include "tests/unit/namespace/namespace_model.h"
#include "tests/unit/namespace/random_records.h"

namespace rram {
namespace {

constexpr std::uint64_t kGeneration = 3;

std::set<Ino> as_set(const std::optional<Ino>& ino) {
  return ino ? std::set<Ino>{*ino} : std::set<Ino>{};
}

class ModelRun {
 public:
  explicit ModelRun(std::uint64_t seed) : records_(seed) {}

  void run(int steps) {
    for (int step = 0; step < steps && !testing::Test::HasFailure(); ++step) {
      SCOPED_TRACE(testing::Message() << "step " << step);
      if (step % 16 == 0) {
        compare_all();
      }
      if (records_.below(200) == 0) {
        drop_references();
      } else if (records_.below(4) == 0) {
        change_references();
      } else {
        apply_record();
      }
    }
    compare_all();
  }

  const std::map<ErrorCode, int>& errors_seen() const { return errors_seen_; }
  const std::map<std::size_t, int>& successes_seen() const { return successes_seen_; }

 private:
  void apply_record() {
    const Record record = records_.next();
    SCOPED_TRACE(testing::Message() << "record kind " << record.index());
    const auto outcome = names_.apply(record);
    const auto answer = model_.apply(record);
    if (!outcome) {
      ++errors_seen_[outcome.error().code];
      ASSERT_EQ(std::optional(outcome.error().code), answer.error);
      return;
    }
    ++successes_seen_[record.index()];
    ASSERT_EQ(answer.error, std::nullopt);
    ASSERT_EQ(outcome->attributes, answer.attributes);
    ASSERT_EQ(as_set(outcome->destroyed), answer.destroyed);
  }

  void change_references() {
    const Ino ino = records_.any_inode();
    const std::uint64_t count = 1 + records_.below(3);
    switch (records_.below(16)) {
      case 0:
        ASSERT_EQ(names_.add_lookup(ino, count).has_value(), model_.add_lookup(ino, count));
        break;
      case 1:
        ASSERT_EQ(names_.open(ino).has_value(), model_.open(ino));
        break;
      // More is given up than taken, so that inodes without a name do not pile up.
      case 2:
      case 3:
      case 4:
      case 5:
      case 6:
        ASSERT_EQ(as_set(names_.close(ino)), model_.close(ino));
        break;
      default:
        ASSERT_EQ(as_set(names_.forget(ino, count)), model_.forget(ino, count));
    }
  }

  void drop_references() {
    std::set<Ino> destroyed;
    names_.drop_all_references([&](Ino ino) { destroyed.insert(ino); });
    ASSERT_EQ(destroyed, model_.drop_all_references());
  }

  void compare_all() {
    std::set<Ino> known;
    names_.for_each_inode([&](const Attributes& inode) { known.insert(inode.ino); });
    std::vector<Ino> directories;
    std::vector<Ino> others;
    std::set<Ino> expected;
    for (const auto& [ino, node] : model_.nodes()) {
      SCOPED_TRACE(testing::Message() << "inode " << ino);
      expected.insert(ino);
      const auto attributes = names_.attributes(ino);
      ASSERT_TRUE(attributes);
      ASSERT_EQ(*attributes, model_.attributes(ino));
      compare_xattrs(ino, node);
      if (is_directory(attributes->mode)) {
        (model_.is_dead(ino) ? others : directories).push_back(ino);
        compare_entries(ino, node);
      } else {
        others.push_back(ino);
      }
      if (is_symlink(attributes->mode)) {
        ASSERT_EQ(names_.read_symlink(ino).value(), node.target);
      }
    }
    ASSERT_EQ(known, expected);
    ASSERT_EQ(names_.usage().inodes_used, expected.size());
    records_.set_inodes(directories, others);
  }

  void compare_entries(Ino ino, const NamespaceModel::Node& node) {
    using Item = std::tuple<std::uint64_t, std::string, Ino>;
    std::vector<Item> found;
    const Status status = names_.read_directory(ino, 0, [&](const DirectoryItem& item) {
      EXPECT_EQ(item.attributes, names_.attributes(item.attributes.ino).value());
      found.emplace_back(item.cookie, item.name, item.attributes.ino);
      return true;
    });
    if (model_.is_dead(ino)) {
      ASSERT_FALSE(status);
      ASSERT_EQ(status.error().code, ErrorCode::kNotFound);
      ASSERT_TRUE(node.entries.empty());
      return;
    }
    std::vector<Item> expected{{1, ".", ino}, {2, "..", model_.parent_of(ino)}};
    for (const auto& entry : node.entries) {
      expected.emplace_back(entry.cookie, entry.name, entry.ino);
      ASSERT_EQ(names_.lookup(ino, entry.name)->ino, entry.ino);
    }
    ASSERT_EQ(found, expected);
  }

  void compare_xattrs(Ino ino, const NamespaceModel::Node& node) {
    std::map<std::string, std::string> found;
    ASSERT_TRUE(names_.list_xattrs(
        ino, [&](std::string_view name) { found.emplace(name, names_.xattr(ino, name).value()); }));
    ASSERT_EQ(found, node.xattrs);
  }

  RandomRecords records_;
  Namespace names_{tight_limits(), RootAttributes{}, kGeneration};
  NamespaceModel model_{tight_limits(), kGeneration};
  std::map<ErrorCode, int> errors_seen_;
  std::map<std::size_t, int> successes_seen_;
};

constexpr int kSteps = 50'000;

void run_seed(std::uint64_t seed, std::map<ErrorCode, int>& errors,
              std::map<std::size_t, int>& successes) {
  SCOPED_TRACE(testing::Message() << "RRAM_TEST_SEED=" << seed);
  ModelRun run(seed);
  run.run(kSteps);
  for (const auto& [code, count] : run.errors_seen()) {
    errors[code] += count;
  }
  for (const auto& [kind, count] : run.successes_seen()) {
    successes[kind] += count;
  }
}

TEST(NamespaceModelTest, random_changes_agree_with_the_model) {
  std::map<ErrorCode, int> errors;
  std::map<std::size_t, int> successes;
  for (std::uint64_t seed = 1; seed <= 8 && !HasFailure(); ++seed) {
    run_seed(seed, errors, successes);
  }
  // A comparison that never meets a rule proves nothing about it.
  for (std::size_t kind = 0; kind < std::variant_size_v<Record>; ++kind) {
    EXPECT_GE(successes[kind], 500) << "record kind " << kind;
  }
  for (const ErrorCode code :
       {ErrorCode::kStale, ErrorCode::kNotFound, ErrorCode::kExists, ErrorCode::kNotDirectory,
        ErrorCode::kIsDirectory, ErrorCode::kNotEmpty, ErrorCode::kNameTooLong,
        ErrorCode::kTooManyLinks, ErrorCode::kNoSpace, ErrorCode::kFileTooBig,
        ErrorCode::kNotPermitted, ErrorCode::kNotSupported, ErrorCode::kNoAttribute,
        ErrorCode::kRange, ErrorCode::kArgumentTooLarge, ErrorCode::kInvalidArgument}) {
    EXPECT_GE(errors[code], 100) << error_code_name(code);
  }
}

TEST(NamespaceModelTest, changes_from_a_new_seed_agree_with_the_model) {
  const char* chosen = std::getenv("RRAM_TEST_SEED");
  const std::uint64_t seed =
      chosen == nullptr ? std::random_device{}() : std::strtoull(chosen, nullptr, 10);
  fmt::print("seed of this run: {}\n", seed);
  std::map<ErrorCode, int> errors;
  std::map<std::size_t, int> successes;
  run_seed(seed, errors, successes);
}

}  // namespace
}  // namespace rram
