// Reading, writing and cutting, against an oracle.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <thread>
#include <vector>

#include "tests/unit/fusefs/file_io_fixture.h"

namespace rram::test {
namespace {

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
  std::jthread thread([&] {
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

}  // namespace
}  // namespace rram::test
