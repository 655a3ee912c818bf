// Where data and holes are, and copies within the volume.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "tests/unit/fusefs/file_io_fixture.h"

namespace rram::test {
namespace {

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
}  // namespace rram::test
