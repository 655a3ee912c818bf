// Files and volumes so large that what grows with them must be done in steps, and reserved.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <optional>
#include <span>
#include <vector>

#include "tests/unit/fusefs/file_io_fixture.h"

namespace rram::test {
namespace {

// A provider of nothing but numbers: what is allocated and never written needs no I/O.
class FileIoHugeTest : public FileIoTest {
 protected:
  static constexpr std::uint64_t kHugeBytes = std::uint64_t{64} << 30;
  // What is done in one step (Volume::step_bytes()), at the default stripe unit.
  static constexpr std::uint64_t kStepBytes = kSlotsPerHold * kDefaultStripeUnitBytes;

  void SetUp() override {
    FileIoTest::SetUp();
    ASSERT_TRUE(volume_->add_lease(kProviders, kHugeBytes / 64, 64));
    ino_ = make_file("huge");
  }

  std::uint64_t allocated_bytes() { return volume_->stat(ino_)->allocated_bytes; }
  std::uint64_t free_bytes() { return volume_->figures().free_bytes; }

  // Whoever has requests on the same worker has a turn between any two steps of `work`, which
  // changes what the file occupies: the largest change that such a turn saw.
  template <typename T>
  std::uint64_t largest_step_of(const std::function<Task<T>()>& work) {
    return workers_[0]->run_blocking<std::uint64_t>([&] { return watch<T>(*this, work); });
  }

  template <typename T>
  static Task<std::uint64_t> watch(FileIoHugeTest& test, std::function<Task<T>()> work) {
    Gate gate;
    bool is_done = false;
    std::uint64_t last = test.allocated_bytes();
    std::uint64_t largest = 0;
    spawn(gate, run_to_end<T>(std::move(work), is_done));
    for (bool was_done = false; !was_done;) {
      was_done = is_done;
      const std::uint64_t now = test.allocated_bytes();
      largest = std::max(largest, now > last ? now - last : last - now);
      last = now;
      co_await test.workers_[0]->loop().resume_here();
    }
    co_await gate.close();
    co_return largest;
  }
  template <typename T>
  static Task<> run_to_end(std::function<Task<T>()> work, bool& is_done) {
    const T result = co_await work();
    EXPECT_TRUE(result.has_value());
    is_done = true;
  }

  void allocate_huge() {
    const std::uint64_t largest = largest_step_of<Status>([&] {
      return allocate_range(io(0), ino_, 0, kHugeBytes, /*keeps_size=*/false, Timestamp{});
    });
    EXPECT_EQ(allocated_bytes(), kHugeBytes);
    EXPECT_LE(largest, 2 * kStepBytes);
  }

  Status allocate(Ino ino, std::uint64_t length) {
    return workers_[0]->run_blocking<Status>(
        [&] { return allocate_range(io(0), ino, 0, length, /*keeps_size=*/false, Timestamp{}); });
  }

  Ino ino_ = 0;
};

TEST_F(FileIoHugeTest, allocating_and_cutting_let_others_have_their_turn) {
  const std::uint64_t free = free_bytes();
  allocate_huge();
  EXPECT_EQ(free_bytes(), free - kHugeBytes);
  const auto punched = largest_step_of<Status>(
      [&] { return punch_range(io(0), ino_, 0, kHugeBytes / 2, Timestamp{}); });
  EXPECT_EQ(allocated_bytes(), kHugeBytes / 2);
  EXPECT_LE(punched, 2 * kStepBytes);
  const auto cut = largest_step_of<Result<FileStat>>(
      [&] { return truncate_file(io(0), SetAttributes{.ino = ino_, .size_bytes = 100'000}); });
  EXPECT_EQ(allocated_bytes(), 0U);
  EXPECT_LE(cut, 2 * kStepBytes);
  EXPECT_EQ(free_bytes(), free);
}

TEST_F(FileIoHugeTest, a_cut_shows_at_once_however_long_its_blocks_take) {
  allocate_huge();
  ASSERT_TRUE(volume_->truncate(SetAttributes{.ino = ino_, .size_bytes = 5}).has_value());
  EXPECT_EQ(volume_->stat(ino_)->attributes.size_bytes, 5U);
  unsigned steps = 1;
  while (volume_->drop_behind(ino_, 5)) ++steps;
  EXPECT_GE(steps, kHugeBytes / kStepBytes);
  EXPECT_EQ(allocated_bytes(), 4096U);
}

TEST_F(FileIoHugeTest, what_is_deleted_counts_as_free_at_once_and_is_free_in_steps) {
  const std::uint64_t free = free_bytes();
  allocate_huge();
  ASSERT_TRUE(volume_->change(Unlink{kRootIno, "huge", {}}).has_value());
  EXPECT_TRUE(volume_->forget(ino_, 1)) << "all of it in one step";
  EXPECT_EQ(free_bytes(), free);
  unsigned steps = 0;
  while (volume_->drop_deleted()) ++steps;
  EXPECT_GE(steps, kHugeBytes / kStepBytes - 5);
  EXPECT_EQ(free_bytes(), free);
  ino_ = make_file("again");
  allocate_huge();
}

TEST_F(FileIoHugeTest, an_allocation_that_does_not_fit_changes_nothing) {
  const std::uint64_t total = volume_->figures().total_bytes;
  ASSERT_TRUE(allocate(make_file("other"), 5000).has_value());
  ASSERT_TRUE(allocate(ino_, 5000).has_value());
  const std::uint64_t free = free_bytes();
  const std::uint64_t allocated = allocated_bytes();
  const Status refused = allocate(ino_, total);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kNoSpace);
  EXPECT_EQ(allocated_bytes(), allocated);
  EXPECT_EQ(free_bytes(), free);
  EXPECT_EQ(volume_->stat(ino_)->attributes.size_bytes, 5000U);
  // What the file has already is not needed again.
  EXPECT_TRUE(allocate(ino_, total - 2 * 8192).has_value());
}

// The kernel may give a file up (FORGET) while the daemon still works on it.
TEST_F(FileIoHugeTest, a_file_that_is_gone_takes_no_space) {
  const std::uint64_t free = free_bytes();
  {
    Result<SpaceReservation> held = volume_->reserve(kHugeBytes / 2);
    ASSERT_TRUE(held.has_value());
    WritePlan plan;
    EXPECT_EQ(volume_->begin_allocation(ino_, 0, kHugeBytes, *held, plan).error().code,
              ErrorCode::kNoSpace)
        << "more than was reserved";
    remove("huge", ino_);
    EXPECT_EQ(volume_->begin_allocation(ino_, 0, kStepBytes, *held, plan).error().code,
              ErrorCode::kStale);
  }
  EXPECT_EQ(free_bytes(), free);
}

TEST_F(FileIoHugeTest, an_allocation_that_is_overdue_changes_nothing) {
  const std::uint64_t free = free_bytes();
  request_deadline_ns_ = 1;
  EXPECT_EQ(allocate(ino_, kHugeBytes).error().code, ErrorCode::kTimedOut);
  EXPECT_EQ(allocated_bytes(), 0U);
  EXPECT_EQ(free_bytes(), free);
  EXPECT_EQ(volume_->stat(ino_)->attributes.size_bytes, 0U);
}

TEST_F(FileIoHugeTest, punching_that_is_overdue_lets_the_writes_behind_it_go_on) {
  allocate_huge();
  request_deadline_ns_ = 1;
  const Status punched = workers_[0]->run_blocking<Status>(
      [&] { return punch_range(io(0), ino_, 0, kHugeBytes, Timestamp{}); });
  EXPECT_EQ(punched.error().code, ErrorCode::kTimedOut);
  EXPECT_GT(allocated_bytes(), kHugeBytes / 2);
}

TEST_F(FileIoHugeTest, what_lay_on_a_provider_that_is_gone_never_counts_as_free) {
  allocate_huge();
  volume_->set_usable(kProviders, false);
  remove("huge", ino_);
  EXPECT_LE(free_bytes(), kProviders * kPoolBytes);
  while (volume_->drop_deleted()) {
  }
  EXPECT_LE(free_bytes(), kProviders * kPoolBytes);
}

TEST_F(FileIoHugeTest, one_walk_frees_all_that_is_deleted) {
  allocate_huge();
  const Ino small = make_file("small");
  ASSERT_TRUE(allocate(small, 5000).has_value());
  ASSERT_TRUE(volume_->change(Unlink{kRootIno, "huge", {}}).has_value());
  ASSERT_TRUE(volume_->change(Unlink{kRootIno, "small", {}}).has_value());
  EXPECT_TRUE(volume_->forget(ino_, 1));
  EXPECT_FALSE(volume_->forget(small, 1)) << "somebody is at it already";
}

TEST_F(FileIoHugeTest, many_small_files_are_dropped_together) {
  std::vector<Ino> small(100);
  for (std::size_t i = 0; i < small.size(); ++i) {
    small[i] = make_file(fmt::format("small-{}", i));
    ASSERT_TRUE(allocate(small[i], 5000).has_value());
  }
  allocate_huge();
  remove("huge", ino_);
  for (std::size_t i = 0; i < small.size(); ++i) remove(fmt::format("small-{}", i), small[i]);
  std::size_t steps = small.size();  // each removal took one
  while (volume_->drop_deleted()) ++steps;
  EXPECT_LE(steps, kHugeBytes / kStepBytes + 10);
}

Task<bool> drop_until_closed(FileIo io) {
  spawn(io.worker.running(), drop_deleted(io));
  co_await io.worker.running().close();
  co_return true;
}

TEST_F(FileIoHugeTest, the_end_of_a_mount_does_not_wait_for_the_deleted) {
  allocate_huge();
  remove("huge", ino_);
  workers_[0]->run_blocking<bool>([&] { return drop_until_closed(io(0)); });
  EXPECT_TRUE(volume_->drop_deleted()) << "all was dropped first";
}

TEST_F(FileIoHugeTest, space_that_will_come_back_is_waited_for) {
  EXPECT_EQ(volume_->space_coming(), SpaceComing::kNone);
  allocate_huge();
  const IoTicket reading = volume_->begin_io();
  remove("huge", ino_);
  unsigned steps = 0;
  while (volume_->space_coming() == SpaceComing::kAtOnce) ++steps;
  EXPECT_GE(steps, kHugeBytes / kStepBytes - 5) << "no need to sleep between them";
  EXPECT_EQ(volume_->space_coming(), SpaceComing::kAfterIo);
  volume_->end_read(reading);
  while (volume_->space_coming() == SpaceComing::kAtOnce) {
  }
  EXPECT_EQ(volume_->space_coming(), SpaceComing::kNone);
}

TEST_F(FileIoHugeTest, a_reservation_that_cannot_be_kept_is_waited_for) {
  Result<SpaceReservation> reserved = volume_->reserve(free_bytes());
  ASSERT_TRUE(reserved.has_value());
  std::optional<SpaceReservation> held(std::move(*reserved));
  EXPECT_EQ(volume_->space_coming(), SpaceComing::kNone) << "it can";
  volume_->set_usable(kProviders, false);
  EXPECT_EQ(volume_->space_coming(), SpaceComing::kAfterIo);
  const std::span<std::byte> room = buffer(0, 5000);
  std::future<Result<std::size_t>> written = workers_[0]->run_async<Result<std::size_t>>(
      [&] { return write_file(io(0), ino_, 0, room, /*may_be_short=*/false, Timestamp{}); });
  EXPECT_EQ(written.wait_for(std::chrono::milliseconds(20)), std::future_status::timeout);
  held.reset();
  EXPECT_EQ(written.get().value_or(0), 5000U);
}

class FileIoMemoryTest : public FileIoHugeTest {
 protected:
  static constexpr std::uint64_t kMetadataBytes = 200'000;
  FileIoMemoryTest() { limits_.max_memory_bytes = kMetadataBytes; }

  std::uint64_t metadata_bytes() { return volume_->figures().inodes.memory_bytes; }
};

TEST_F(FileIoMemoryTest, block_maps_have_a_limit_and_what_exists_can_be_written) {
  ASSERT_TRUE(allocate(ino_, kHugeBytes / 32).has_value());
  const std::uint64_t small = metadata_bytes();
  const Status refused = allocate(ino_, kHugeBytes);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kNoSpace);
  EXPECT_GE(metadata_bytes(), kMetadataBytes);
  EXPECT_LT(metadata_bytes(), kMetadataBytes + kMetadataBytes / 4);
  const VolumeFigures figures = volume_->figures();
  EXPECT_EQ(figures.free_bytes + allocated_bytes(), figures.total_bytes)
      << "nothing stays reserved";
  EXPECT_FALSE(volume_->create(Create{.parent = kRootIno, .name = "x", .mode = S_IFREG}));
  WritePlan plan;
  const auto start = volume_->begin_write(ino_, 0, 100'000, GateMode::kExclusive, plan);
  ASSERT_TRUE(start.has_value()) << "what the file has already";
  volume_->end_write(plan, *start->ticket);
  EXPECT_EQ(volume_->placeable_bytes(ino_, kHugeBytes, 4096), 0U);
  ASSERT_TRUE(truncate(0, ino_, kHugeBytes / 32));
  EXPECT_LE(metadata_bytes(), small + 1000) << "what was cut is counted no more";
  EXPECT_TRUE(volume_->create(Create{.parent = kRootIno, .name = "x", .mode = S_IFREG}));
  remove("huge", ino_);
  while (volume_->drop_deleted()) {
  }
  EXPECT_LT(metadata_bytes(), small / 2);
}

TEST_F(FileIoMemoryTest, maps_of_what_was_deleted_keep_nobody_from_making_names) {
  EXPECT_FALSE(allocate(ino_, kHugeBytes).has_value());
  remove("huge", ino_);
  EXPECT_TRUE(volume_->create(Create{.parent = kRootIno, .name = "x", .mode = S_IFREG}));
  EXPECT_TRUE(volume_->drop_deleted()) << "there were some";
}

TEST_F(FileIoMemoryTest, blocks_that_come_back_bring_no_memory_for_maps) {
  const Ino small = make_file("small");
  ASSERT_TRUE(allocate(small, 5000).has_value());
  EXPECT_FALSE(allocate(ino_, kHugeBytes).has_value());
  const IoTicket reading = volume_->begin_io();
  remove("small", small);
  while (volume_->drop_deleted()) {
  }
  EXPECT_EQ(volume_->space_coming(), SpaceComing::kNone);
  volume_->end_read(reading);
}

// Between the steps of an allocation others take space, but none of what it was promised.
TEST_F(FileIoHugeTest, what_is_reserved_is_nobody_elses) {
  const Result<std::uint64_t> missing = volume_->missing_bytes(ino_, 0, kHugeBytes);
  ASSERT_EQ(missing.value_or(0), kHugeBytes);
  const std::uint64_t free = free_bytes();
  {
    const Result<SpaceReservation> held = volume_->reserve(free);
    ASSERT_TRUE(held.has_value());
    EXPECT_EQ(free_bytes(), 0U);
    const auto refused = write(0, make_file("other"), 0, std::vector<std::byte>(5000));
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::kNoSpace);
    volume_->set_usable(kProviders, false);
    volume_->set_usable(kProviders, true);
    EXPECT_EQ(free_bytes(), 0U);
  }
  EXPECT_EQ(free_bytes(), free);
}

}  // namespace
}  // namespace rram::test
