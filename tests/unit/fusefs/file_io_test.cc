// The data path without the kernel: volume, plans, links and lanes of two workers over pools inside
// the process, against an oracle.

#include "fusefs/file_io.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <future>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "fusefs/mounted_provider.h"
#include "rdma/connector.h"

namespace rram {
namespace {

constexpr std::uint64_t kPoolBytes = std::uint64_t{8} << 20;
constexpr unsigned kProviders = 2;
constexpr unsigned kWorkers = 2;
constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

// A kernel that has nothing in its caches, unless a test says what it writes back when asked.
class TestCaches final : public KernelCaches {
 public:
  struct Range {
    std::uint64_t offset;
    std::uint64_t length;
    bool operator==(const Range&) const = default;
  };

  Task<> drain_forgets(Worker& /*worker*/) override { co_return; }
  Task<bool> write_back(Worker& worker, Ino ino, std::uint64_t offset,
                        std::uint64_t length) override {
    if (is_crowded) co_return false;
    asked.push_back({offset, length});
    if (dirty) co_await dirty(worker, ino);
    co_return true;
  }

  std::vector<Range> asked;
  std::function<Task<>(Worker&, Ino)> dirty;
  bool is_crowded = false;
};

Task<Status> open_links(Worker& worker) {
  for (const std::unique_ptr<ProviderLink>& link : worker.links()) {
    Status opened = co_await link->open();
    if (!opened) co_return opened;
  }
  co_return Status{};
}

Task<bool> close_worker(Worker& worker) {
  co_await worker.running().close();
  for (const std::unique_ptr<ProviderLink>& link : worker.links()) co_await link->close();
  worker.links().clear();
  co_return true;
}

Task<bool> release(MountedProvider& provider) {
  co_await provider.release();
  co_return true;
}

// Everything of a mount but the kernel.
class FileIoTest : public testing::Test {
 protected:
  void SetUp() override {
    const Geometry geometry = *Geometry::make(kDefaultStripeUnitBytes);
    volume_ = std::make_unique<Volume>(geometry, limits_, RootAttributes{});
    for (unsigned i = 0; i < kWorkers; ++i) {
      auto worker = Worker::start({.index = i,
                                   .front_arena_bytes = 4 * kBufferBytes,
                                   .stripe_unit_bytes = geometry.stripe_unit_bytes(),
                                   .granule_bytes = geometry.granule_bytes()});
      ASSERT_TRUE(worker.has_value()) << worker.error().message;
      workers_.push_back(std::move(*worker));
    }
    EventLoop& loop = workers_[0]->loop();
    for (unsigned i = 0; i < kProviders; ++i) {
      const Endpoint endpoint = *parse_endpoint(fmt::format("local:{}", kPoolBytes));
      auto connected = workers_[0]->run_blocking<Result<ConnectedLease>>(
          [&] { return connect_lease(loop, endpoint, LeaseOptions{}); });
      ASSERT_TRUE(connected.has_value()) << connected.error().message;
      const std::vector<RemoteRegion>& regions = connected->lease->regions();
      ASSERT_TRUE(volume_->add_lease(i, regions.front().length_bytes, regions.size()));
      providers_.push_back(
          std::make_unique<MountedProvider>(loop, *volume_, i, std::move(connected->lease), 1000));
    }
    for (const auto& worker : workers_) {
      for (const auto& provider : providers_) {
        worker->links().push_back(
            std::make_unique<ProviderLink>(worker->loop(), *provider, 1, worker->arena()));
      }
      ASSERT_TRUE(worker->run_blocking<Status>([&] { return open_links(*worker); }));
    }
  }

  void TearDown() override {
    for (const auto& worker : workers_) {
      worker->run_blocking<bool>([&] { return close_worker(*worker); });
    }
    for (const auto& provider : providers_) {
      workers_[0]->run_blocking<bool>([&] { return release(*provider); });
    }
  }

  FileIo io(unsigned worker) {
    return {*volume_, *workers_[worker], caches_, request_deadline_ns_};
  }

  Ino make_file(const std::string& name) {
    const Result<FileStat> file =
        volume_->create(Create{.parent = kRootIno, .name = name, .mode = S_IFREG | 0600});
    EXPECT_TRUE(file.has_value());
    return file->attributes.ino;
  }

  std::span<std::byte> buffer(unsigned worker, std::size_t size_bytes) {
    return workers_[worker]->front_arena().first(size_bytes);
  }

  Result<std::size_t> write(unsigned worker, Ino ino, std::uint64_t offset,
                            std::span<const std::byte> data, bool may_be_short = false) {
    const std::span<std::byte> room = buffer(worker, data.size());
    return workers_[worker]->run_blocking<Result<std::size_t>>([&] {
      std::ranges::copy(data, room.begin());
      return write_file(io(worker), ino, offset, room, may_be_short, Timestamp{1, 0});
    });
  }

  Result<std::vector<std::byte>> read(unsigned worker, Ino ino, std::uint64_t offset,
                                      std::size_t size_bytes) {
    const std::span<std::byte> room = buffer(worker, size_bytes);
    const auto read_bytes = workers_[worker]->run_blocking<Result<std::size_t>>([&] {
      std::memset(room.data(), 0xEE, room.size());
      return read_file(io(worker), ino, offset, room, std::nullopt);
    });
    if (!read_bytes) return std::unexpected(read_bytes.error());
    return std::vector<std::byte>(room.begin(),
                                  room.begin() + static_cast<std::ptrdiff_t>(*read_bytes));
  }

  Status truncate(unsigned worker, Ino ino, std::uint64_t size_bytes) {
    const auto file = workers_[worker]->run_blocking<Result<FileStat>>([&] {
      return truncate_file(io(worker), SetAttributes{.ino = ino, .size_bytes = size_bytes});
    });
    if (!file) return std::unexpected(file.error());
    return {};
  }

  void remove(const std::string& name, Ino ino) {
    ASSERT_TRUE(volume_->change(Unlink{kRootIno, name, {}}).has_value());
    volume_->forget(ino, 1);
  }

  NamespaceLimits limits_;
  std::uint64_t request_deadline_ns_ = std::numeric_limits<std::uint64_t>::max();
  TestCaches caches_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Volume> volume_;
  std::vector<std::unique_ptr<MountedProvider>> providers_;
};

std::vector<std::byte> pattern(std::mt19937& random, std::size_t size_bytes) {
  std::vector<std::byte> bytes(size_bytes);
  const auto first = static_cast<unsigned>(random());
  for (std::size_t i = 0; i < size_bytes; ++i) {
    bytes[i] = static_cast<std::byte>(first + i * 7 + 1);
  }
  return bytes;
}

TEST_F(FileIoTest, random_writes_reads_and_cuts_match_an_oracle) {
  constexpr std::uint64_t kMaxFileSize = 3'000'000;
  std::mt19937 random(20130624);
  const Ino ino = make_file("f");
  std::vector<std::byte> oracle;
  for (int step = 0; step < 4000; ++step) {
    const auto worker = static_cast<unsigned>(random() % kWorkers);
    const std::uint64_t offset = random() % kMaxFileSize;
    const std::size_t length = random() % 3 == 0 ? random() % 600'000 + 1 : random() % 6'000 + 1;
    switch (random() % 8) {
      case 0: {
        ASSERT_TRUE(truncate(worker, ino, offset).has_value());
        oracle.resize(offset);
        break;
      }
      case 1:
      case 2:
      case 3: {
        const std::vector<std::byte> data = pattern(random, length);
        ASSERT_TRUE(write(worker, ino, offset, data).has_value());
        if (oracle.size() < offset + length) oracle.resize(offset + length);
        std::ranges::copy(data, oracle.begin() + static_cast<std::ptrdiff_t>(offset));
        break;
      }
      default: {
        const auto bytes = read(worker, ino, offset, length);
        ASSERT_TRUE(bytes.has_value());
        const std::size_t expected =
            offset >= oracle.size() ? 0 : std::min<std::size_t>(length, oracle.size() - offset);
        ASSERT_EQ(bytes->size(), expected) << "step " << step;
        const auto wanted = std::span(oracle).subspan(std::min(offset, oracle.size()), expected);
        ASSERT_TRUE(std::ranges::equal(*bytes, wanted))
            << "step " << step << " offset " << offset << " length " << length;
      }
    }
  }
  remove("f", ino);
  EXPECT_EQ(volume_->figures().free_bytes, volume_->figures().total_bytes);
}

TEST_F(FileIoTest,
       a_full_volume_takes_a_short_write_then_enospc_and_is_whole_again_after_deleting) {
  const Ino ino = make_file("f");
  std::mt19937 random(1);
  const std::vector<std::byte> data = pattern(random, 300'000);
  std::uint64_t offset = 0;
  for (;;) {
    const auto written = write(0, ino, offset, data, /*may_be_short=*/true);
    if (!written) {
      EXPECT_EQ(written.error().code, ErrorCode::kNoSpace);
      break;
    }
    ASSERT_GT(*written, 0U);
    offset += *written;
  }
  EXPECT_EQ(offset, kProviders * kPoolBytes);
  EXPECT_EQ(volume_->figures().free_bytes, 0U);
  remove("f", ino);
  EXPECT_EQ(volume_->figures().free_bytes, kProviders * kPoolBytes);
  const Ino again = make_file("g");
  EXPECT_TRUE(write(1, again, 0, data).has_value());
}

TEST_F(FileIoTest, what_another_file_left_in_a_block_is_never_read) {
  std::mt19937 random(2);
  const Ino secret = make_file("secret");
  ASSERT_TRUE(write(0, secret, 0, pattern(random, kBufferBytes)).has_value());
  remove("secret", secret);
  const Ino sparse = make_file("sparse");
  for (const std::uint64_t offset : {10'000ULL, 300'000ULL, 700'001ULL}) {
    const std::vector<std::byte> one(1, std::byte{0xFF});
    ASSERT_TRUE(write(0, sparse, offset, one).has_value());
  }
  const auto bytes = read(0, sparse, 0, 700'002);
  ASSERT_TRUE(bytes.has_value());
  const auto marks = std::ranges::count(*bytes, std::byte{0xFF});
  const auto zeros = std::ranges::count(*bytes, std::byte{0});
  EXPECT_EQ(marks, 3);
  EXPECT_EQ(zeros, 700'002 - 3);
}

Task<> many_writes(FileIo io, Ino ino, unsigned part, unsigned parts, unsigned rounds,
                   std::span<std::byte> room, Status& result) {
  // Small neighbouring writes of different coroutines meet in the same never-written granules.
  for (unsigned round = 0; round < rounds; ++round) {
    std::memset(room.data(), static_cast<int>(part + 1), room.size());
    const std::uint64_t offset = (std::uint64_t{round} * parts + part) * room.size();
    const Result<std::size_t> written =
        co_await write_file(io, ino, offset, room, false, Timestamp{});
    if (!written) {
      result = std::unexpected(written.error());
      co_return;
    }
    co_await io.worker.loop().resume_here();
  }
}

Task<Status> write_concurrently(FileIo io, Ino ino, unsigned first_part, unsigned own_parts,
                                unsigned parts, unsigned rounds, std::size_t write_bytes) {
  std::vector<Status> results(own_parts);
  Gate gate;
  for (unsigned i = 0; i < own_parts; ++i) {
    const std::span<std::byte> room =
        io.worker.front_arena().subspan(std::size_t{i} * 4096, write_bytes);
    spawn(gate, many_writes(io, ino, first_part + i, parts, rounds, room, results[i]));
  }
  co_await gate.close();
  for (const Status& result : results) {
    if (!result) co_return result;
  }
  co_return Status{};
}

TEST_F(FileIoTest, neighbouring_writes_of_two_workers_do_not_wipe_each_other_out) {
  constexpr unsigned kPartsPerWorker = 4;
  constexpr unsigned kParts = kPartsPerWorker * kWorkers;
  constexpr unsigned kRounds = 300;
  constexpr std::size_t kWriteBytes = 700;
  const Ino ino = make_file("f");
  Status other;
  std::thread thread([&] {
    other = workers_[1]->run_blocking<Status>([&] {
      return write_concurrently(io(1), ino, kPartsPerWorker, kPartsPerWorker, kParts, kRounds,
                                kWriteBytes);
    });
  });
  const Status own = workers_[0]->run_blocking<Status>([&] {
    return write_concurrently(io(0), ino, 0, kPartsPerWorker, kParts, kRounds, kWriteBytes);
  });
  thread.join();
  ASSERT_TRUE(own.has_value());
  ASSERT_TRUE(other.has_value());
  std::uint64_t offset = 0;
  for (unsigned round = 0; round < kRounds; ++round) {
    const auto bytes = read(0, ino, offset, kParts * kWriteBytes);
    ASSERT_TRUE(bytes.has_value());
    ASSERT_EQ(bytes->size(), kParts * kWriteBytes);
    for (std::size_t i = 0; i < bytes->size(); ++i) {
      ASSERT_EQ(static_cast<unsigned>((*bytes)[i]), i / kWriteBytes + 1)
          << "round " << round << " byte " << i;
    }
    offset += kParts * kWriteBytes;
  }
}

TEST_F(FileIoTest, a_request_that_is_overdue_fails_and_changes_nothing) {
  std::mt19937 random(4);
  const Ino ino = make_file("f");
  const std::vector<std::byte> data = pattern(random, 10'000);
  ASSERT_TRUE(write(0, ino, 0, data).has_value());
  request_deadline_ns_ = 1;
  const auto overdue_write = write(0, ino, 0, pattern(random, 10'000));
  ASSERT_FALSE(overdue_write.has_value());
  EXPECT_EQ(overdue_write.error().code, ErrorCode::kTimedOut);
  const auto overdue_read = read(0, ino, 0, data.size());
  ASSERT_FALSE(overdue_read.has_value());
  EXPECT_EQ(overdue_read.error().code, ErrorCode::kTimedOut);
  request_deadline_ns_ = std::numeric_limits<std::uint64_t>::max();
  const auto bytes = read(0, ino, 0, data.size());
  ASSERT_TRUE(bytes.has_value());
  EXPECT_EQ(*bytes, data);
}

TEST_F(FileIoTest, with_no_provider_in_reach_a_new_block_is_an_error_and_not_a_full_volume) {
  const Ino ino = make_file("f");
  const std::vector<std::byte> data(5000, std::byte{1});
  volume_->set_usable(0, false);
  EXPECT_TRUE(write(0, ino, 0, data).has_value());
  volume_->set_usable(1, false);
  const auto refused = write(0, make_file("g"), 0, data);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kDisconnected);
  volume_->set_usable(0, true);
  EXPECT_TRUE(write(0, make_file("h"), 0, data).has_value());
}

TEST_F(FileIoTest, waiting_for_deleted_blocks_to_become_free_ends_at_the_deadline) {
  std::mt19937 random(5);
  const std::vector<std::byte> data = pattern(random, kBufferBytes);
  const Ino full = make_file("full");
  std::uint64_t offset = 0;
  while (const auto written = write(0, full, offset, data)) offset += *written;
  // Somebody's I/O that began before the file was deleted keeps its blocks from being used again.
  const IoTicket reading = volume_->begin_io();
  remove("full", full);
  const Ino next = make_file("next");
  request_deadline_ns_ = monotonic_ns() + 100'000'000;
  const auto refused = write(0, next, 0, data);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kNoSpace);
  volume_->end_read(reading);
  request_deadline_ns_ = std::numeric_limits<std::uint64_t>::max();
  EXPECT_TRUE(write(0, next, 0, data).has_value());
}

TEST_F(FileIoTest, a_punched_range_reads_as_zeros_and_gives_its_blocks_back) {
  std::mt19937 random(3);
  const Ino ino = make_file("f");
  const std::vector<std::byte> data = pattern(random, kBufferBytes);
  ASSERT_TRUE(write(0, ino, 0, data).has_value());
  const std::uint64_t full = volume_->figures().free_bytes;
  const Status punched = workers_[0]->run_blocking<Status>(
      [&] { return punch_range(io(0), ino, 100'000, 600'000, Timestamp{}); });
  ASSERT_TRUE(punched.has_value());
  EXPECT_GT(volume_->figures().free_bytes, full);
  const auto bytes = read(0, ino, 0, data.size());
  ASSERT_TRUE(bytes.has_value());
  for (std::size_t i = 0; i < data.size(); ++i) {
    const bool inside = i >= 100'000 && i < 700'000;
    ASSERT_EQ((*bytes)[i], inside ? std::byte{0} : data[i]) << i;
  }
}

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

TEST_F(FileIoTest, a_write_to_a_file_that_is_gone_ends_without_a_trace) {
  const Ino ino = make_file("f");
  ASSERT_TRUE(write(0, ino, 0, std::vector<std::byte>(5000, std::byte{1})).has_value());
  WritePlan plan;
  const auto start = volume_->begin_write(ino, 0, 300'000, GateMode::kExclusive, plan);
  ASSERT_TRUE(start.has_value());
  remove("f", ino);
  volume_->commit_moves(ino, plan);
  EXPECT_EQ(volume_->commit_write(ino, plan, 300'000, {}).error().code, ErrorCode::kStale);
  volume_->note_failed_write(ino);
  volume_->end_write(plan, *start->ticket);
  EXPECT_EQ(volume_->figures().free_bytes, volume_->figures().total_bytes);
}

TEST_F(FileIoHugeTest, an_allocation_that_is_overdue_changes_nothing) {
  const std::uint64_t free = free_bytes();
  request_deadline_ns_ = 1;
  EXPECT_EQ(allocate(ino_, kHugeBytes).error().code, ErrorCode::kTimedOut);
  EXPECT_EQ(allocated_bytes(), 0U);
  EXPECT_EQ(free_bytes(), free);
  EXPECT_EQ(volume_->stat(ino_)->attributes.size_bytes, 0U);
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

TEST_F(FileIoTest, a_read_sets_the_access_time_as_relatime_has_it) {
  const Ino ino = make_file("f");
  ASSERT_TRUE(write(0, ino, 0, std::vector<std::byte>(10)).has_value());  // at second 1
  const auto atime_after_read_at = [&](std::int64_t seconds) {
    const auto read_bytes = workers_[0]->run_blocking<Result<std::size_t>>(
        [&] { return read_file(io(0), ino, 0, buffer(0, 10), Timestamp{seconds, 0}); });
    EXPECT_EQ(read_bytes.value_or(0), 10U);
    return volume_->stat(ino)->attributes.atime.seconds;
  };
  constexpr std::int64_t kDayS = 86400;
  EXPECT_EQ(atime_after_read_at(5), 5);    // older than the write
  EXPECT_EQ(atime_after_read_at(100), 5);  // read since, and not a day ago
  EXPECT_EQ(atime_after_read_at(5 + kDayS - 1), 5);
  EXPECT_EQ(atime_after_read_at(5 + kDayS), 5 + kDayS);
  ASSERT_TRUE(read(0, ino, 0, 10).has_value());  // as with noatime
  EXPECT_EQ(volume_->stat(ino)->attributes.atime.seconds, 5 + kDayS);
}

// Data in [0, 4096) and [20480, 24576) of 40000 bytes.
class FileIoSeekTest : public FileIoTest {
 protected:
  void SetUp() override {
    FileIoTest::SetUp();
    ino_ = make_file("f");
    const std::vector<std::byte> granule(4096, std::byte{1});
    ASSERT_TRUE(write(0, ino_, 0, granule).has_value());
    ASSERT_TRUE(write(0, ino_, 20480, granule).has_value());
    ASSERT_TRUE(truncate(0, ino_, 40000).has_value());
  }

  Result<std::uint64_t> data_at(std::uint64_t offset) {
    return workers_[0]->run_blocking<Result<std::uint64_t>>(
        [&] { return seek_data(io(0), ino_, offset); });
  }
  Result<std::uint64_t> hole_at(std::uint64_t offset) {
    return workers_[0]->run_blocking<Result<std::uint64_t>>(
        [&] { return seek_hole(io(0), ino_, offset); });
  }

  // Writes a page at `offset` when the kernel is asked to write back.
  void let_be_dirty(std::uint64_t offset) {
    caches_.dirty = [this, offset](Worker&, Ino) { return write_page(io(0), ino_, offset); };
  }
  static Task<> write_page(FileIo io, Ino ino, std::uint64_t offset) {
    const std::span<std::byte> page = io.worker.front_arena().first(4096);
    const Result<std::size_t> written = co_await write_file(io, ino, offset, page, false, {});
    EXPECT_TRUE(written.has_value());
  }

  static Task<> lose_page(Volume& volume) {
    volume.count_failed_write();
    co_return;
  }

  Ino ino_ = 0;
};

TEST_F(FileIoSeekTest, data_and_holes_are_found) {
  EXPECT_EQ(data_at(100).value(), 100U);
  EXPECT_EQ(data_at(5000).value(), 20480U);
  EXPECT_EQ(hole_at(0).value(), 4096U);
  EXPECT_EQ(hole_at(5000).value(), 5000U);
  EXPECT_EQ(hole_at(21000).value(), 24576U);
  EXPECT_EQ(data_at(30000).error().code, ErrorCode::kNoSuchOffset);
  EXPECT_EQ(data_at(40000).error().code, ErrorCode::kNoSuchOffset);
  EXPECT_EQ(hole_at(40000).error().code, ErrorCode::kNoSuchOffset);
}

TEST_F(FileIoSeekTest, data_asks_the_kernel_nothing_where_there_is_data) {
  EXPECT_EQ(data_at(4095).value(), 4095U);
  EXPECT_TRUE(caches_.asked.empty());
}

TEST_F(FileIoSeekTest, only_holes_are_written_back) {
  EXPECT_EQ(data_at(8192).value(), 20480U);
  EXPECT_EQ(caches_.asked, (std::vector<TestCaches::Range>{{8192, 12288}}));
  caches_.asked.clear();
  EXPECT_EQ(hole_at(0).value(), 4096U);
  EXPECT_EQ(caches_.asked, (std::vector<TestCaches::Range>{{4096, 16384}}));
}

TEST_F(FileIoSeekTest, what_the_kernel_has_not_written_yet_is_data) {
  let_be_dirty(8192);
  EXPECT_EQ(data_at(5000).value(), 8192U);
}

TEST_F(FileIoSeekTest, a_hole_that_the_kernel_fills_is_none) {
  let_be_dirty(4096);
  EXPECT_EQ(hole_at(0).value(), 8192U);
}

TEST_F(FileIoSeekTest, data_behind_the_end_that_the_volume_knows_is_found) {
  let_be_dirty(81920);
  EXPECT_EQ(data_at(30000).value(), 81920U);
  EXPECT_EQ(hole_at(81920).value(), 86016U);
}

TEST_F(FileIoSeekTest, where_the_kernel_cannot_be_asked_all_is_data) {
  caches_.is_crowded = true;
  EXPECT_EQ(data_at(5000).value(), 5000U);
  EXPECT_EQ(hole_at(0).value(), volume_->stat(ino_)->attributes.size_bytes);
  EXPECT_EQ(data_at(1U << 30).error().code, ErrorCode::kWouldBlock) << "never: there is nothing";
}

TEST_F(FileIoSeekTest, what_could_not_be_written_is_no_hole) {
  caches_.dirty = [this](Worker&, Ino) { return lose_page(*volume_); };
  EXPECT_EQ(data_at(5000).error().code, ErrorCode::kIo);
  EXPECT_EQ(hole_at(0).error().code, ErrorCode::kIo);
}

TEST_F(FileIoSeekTest, a_directory_has_no_data) {
  ino_ = kRootIno;
  EXPECT_EQ(data_at(0).error().code, ErrorCode::kIsDirectory);
  EXPECT_EQ(hole_at(0).error().code, ErrorCode::kIsDirectory);
}

class FileIoCopyTest : public FileIoSeekTest {
 protected:
  Result<std::size_t> copy(Ino to, std::uint64_t from_offset, std::uint64_t to_offset,
                           std::uint64_t length) {
    return workers_[0]->run_blocking<Result<std::size_t>>([&] {
      return copy_range(io(0), {ino_, from_offset, to, to_offset, length},
                        buffer(0, 2 * kBufferBytes).last(kBufferBytes), Timestamp{7, 0},
                        Timestamp{});
    });
  }
};

TEST_F(FileIoCopyTest, bytes_arrive_and_the_source_ends_the_copy) {
  std::mt19937 random(4);
  const std::vector<std::byte> data = pattern(random, kBufferBytes);
  for (std::uint64_t at = 0; at < 3 * kBufferBytes; at += kBufferBytes) {
    ASSERT_TRUE(write(0, ino_, at, data).has_value());
  }
  const Ino to = make_file("to");
  EXPECT_EQ(copy(to, 1000, 5, 10 * kBufferBytes).value(), 3 * kBufferBytes - 1000);
  EXPECT_EQ(volume_->stat(ino_)->attributes.atime, (Timestamp{7, 0})) << "it was read";
  const auto bytes = read(0, to, 5, kBufferBytes - 1000);
  ASSERT_TRUE(bytes.has_value());
  EXPECT_TRUE(std::ranges::equal(*bytes, std::span(data).subspan(1000)));
  EXPECT_EQ(copy(to, 3 * kBufferBytes, 0, 10).value(), 0U);
}

TEST_F(FileIoCopyTest, a_full_volume_ends_the_copy_with_what_fitted) {
  const Ino filler = make_file("filler");
  const std::vector<std::byte> data(kBufferBytes, std::byte{2});
  const std::uint64_t whole = volume_->figures().total_bytes / kBufferBytes - 1;
  for (std::uint64_t i = 0; i < whole; ++i) {
    ASSERT_TRUE(write(0, filler, i * kBufferBytes, data).has_value());
  }
  const std::uint64_t room = volume_->figures().free_bytes;
  ino_ = filler;
  const Ino to = make_file("to");
  EXPECT_EQ(copy(to, 0, 0, whole * kBufferBytes).value(), room);
  EXPECT_EQ(copy(to, 0, room, kBufferBytes).error().code, ErrorCode::kNoSpace);
}

}  // namespace
}  // namespace rram
