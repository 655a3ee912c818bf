// The transport contract (rdma/transport.h, rdma/held_lease.h), once for every transport.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "rdma/held_lease.h"
#include "rdma/transport.h"
#include "tests/contract/run_task.h"
#include "tests/contract/transfers.h"
#include "tests/contract/world.h"

namespace rram::test {

namespace {

using Kind = Operation::Kind;
constexpr std::uint64_t kTimeoutMs = 5'000;
constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

class TransportContract : public testing::TestWithParam<WorldKind> {
 protected:
  void SetUp() override {
    loop_ = make_loop();
    world_ = GetParam().make();
    if (!world_->obstacle().empty()) GTEST_SKIP() << world_->obstacle();
    lease_ = take(8 * kMiB);
    lane_ = open(*lease_);
  }
  void TearDown() override {
    if (lane_) run_task(*loop_, lane_->close());
    lane_.reset();
    if (lease_) run_task(*loop_, lease_->release(kTimeoutMs));
    lease_.reset();
  }

  std::unique_ptr<HeldLease> take(std::uint64_t wanted_bytes) {
    auto lease = run_task(*loop_, world_->take(*loop_, wanted_bytes));
    EXPECT_TRUE(lease.has_value()) << lease.error().message;
    return std::move(*lease);
  }
  std::unique_ptr<Lane> open(HeldLease& lease, std::uint64_t number = 1) {
    auto lane = run_task(*loop_, lease.open_lane(*loop_, number, {kTimeoutMs}));
    EXPECT_TRUE(lane.has_value()) << lane.error().message;
    EXPECT_TRUE((*lane)->announce_arena(arena()));
    return std::move(*lane);
  }
  void close(Lane& lane) { run_task(*loop_, lane.close()); }

  std::optional<ErrorCode> write(Lane& lane, const RemoteRegion& region, std::uint64_t offset_bytes,
                                 std::span<std::byte> bytes) {
    return run_task(*loop_, carry_out(*loop_, lane, {Kind::kWrite, &region, offset_bytes, bytes}));
  }
  std::optional<ErrorCode> read(Lane& lane, const RemoteRegion& region, std::uint64_t offset_bytes,
                                std::span<std::byte> bytes) {
    return run_task(*loop_, carry_out(*loop_, lane, {Kind::kRead, &region, offset_bytes, bytes}));
  }
  Bytes read_back(Lane& lane, const RemoteRegion& region, std::uint64_t offset_bytes,
                  std::size_t length_bytes) {
    Bytes bytes(length_bytes, std::byte{0xEE});
    EXPECT_EQ(read(lane, region, offset_bytes, bytes), std::nullopt);
    return bytes;
  }

  [[nodiscard]] const RemoteRegion& region(std::size_t index = 0) const {
    return lease_->regions().at(index);
  }

  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<World> world_;
  std::unique_ptr<HeldLease> lease_;
  std::unique_ptr<Lane> lane_;
};

TEST_P(TransportContract, a_lease_has_equal_regions_and_at_least_the_wanted_size) {
  EXPECT_GE(lease_->size_bytes(), 8 * kMiB);
  const auto& regions = lease_->regions();
  ASSERT_FALSE(regions.empty());
  for (std::size_t i = 0; i < regions.size(); ++i) {
    EXPECT_EQ(regions[i].index, i);
    EXPECT_EQ(regions[i].length_bytes, regions[0].length_bytes);
  }
  EXPECT_FALSE(lease_->provider_text().empty());
}

TEST_P(TransportContract, a_new_lease_reads_as_zeros) {
  for (const RemoteRegion& each : lease_->regions()) {
    const auto bytes = read_back(*lane_, each, 0, kMiB);
    EXPECT_TRUE(std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{}; }));
  }
}

TEST_P(TransportContract, reads_back_what_was_written_at_all_sizes_and_offsets) {
  const std::size_t max_bytes =
      std::min<std::size_t>(kMaxOperationBytes, region().length_bytes - 8192);
  const std::vector<std::size_t> sizes = {1,     2,      15,   16,       17,       511,
                                          4095,  4096,   4097, 16384,    65535,    65536,
                                          65537, 262144, kMiB, kMiB + 3, max_bytes};
  std::uint32_t seed = 1;
  for (const std::size_t size : sizes) {
    for (const std::uint64_t offset :
         {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{4096}, std::uint64_t{8191}}) {
      if (offset + size > region().length_bytes) continue;
      auto written = pattern(size, ++seed);
      ASSERT_EQ(write(*lane_, region(), offset, written), std::nullopt) << size << " " << offset;
      ASSERT_EQ(read_back(*lane_, region(), offset, size), written) << size << " " << offset;
    }
  }
}

TEST_P(TransportContract, a_write_touches_nothing_beside_its_range) {
  auto background = pattern(8192, 1);
  ASSERT_EQ(write(*lane_, region(), 0, background), std::nullopt);
  auto middle = pattern(1000, 2);
  ASSERT_EQ(write(*lane_, region(), 3001, middle), std::nullopt);
  std::ranges::copy(middle, background.begin() + 3001);
  EXPECT_EQ(read_back(*lane_, region(), 0, 8192), background);
}

TEST_P(TransportContract, the_last_bytes_of_the_last_region_can_be_used) {
  const RemoteRegion& last = lease_->regions().back();
  auto written = pattern(4096, 7);
  ASSERT_EQ(write(*lane_, last, last.length_bytes - 4096, written), std::nullopt);
  EXPECT_EQ(read_back(*lane_, last, last.length_bytes - 4096, 4096), written);
}

TEST_P(TransportContract, many_concurrent_operations_all_arrive) {
  constexpr std::size_t kCount = 300;
  constexpr std::size_t kStep = 7001;
  std::vector<Bytes> written;
  std::vector<Transfer> writes;
  written.reserve(kCount);
  for (std::uint32_t i = 0; i < kCount; ++i) {
    written.push_back(pattern(1 + (i * 97) % kStep, i));
    writes.push_back({Kind::kWrite, &region(), i * kStep, written.back()});
  }
  for (const auto& end : run_task(*loop_, carry_out_all(*loop_, *lane_, writes))) {
    ASSERT_EQ(end, std::nullopt);
  }
  std::vector<Bytes> found(kCount);
  std::vector<Transfer> reads;
  for (std::size_t i = 0; i < kCount; ++i) {
    found[i].resize(written[i].size());
    reads.push_back({Kind::kRead, &region(), i * kStep, found[i]});
  }
  for (const auto& end : run_task(*loop_, carry_out_all(*loop_, *lane_, reads))) {
    ASSERT_EQ(end, std::nullopt);
  }
  EXPECT_EQ(found, written);
}

TEST_P(TransportContract, large_reads_and_writes_in_both_directions_at_once) {
  constexpr std::size_t kCount = 12;
  auto stored = pattern(kMiB, 3);
  const RemoteRegion& source = region(0);
  const RemoteRegion& target = region(1);
  ASSERT_EQ(write(*lane_, source, 0, stored), std::nullopt);
  std::vector<Bytes> buffers(kCount);
  std::vector<Transfer> transfers;
  for (std::size_t i = 0; i < kCount; ++i) {
    const bool is_read = i % 2 == 0;
    buffers[i] = is_read ? Bytes(kMiB) : pattern(kMiB, 50);
    transfers.push_back(
        {is_read ? Kind::kRead : Kind::kWrite, is_read ? &source : &target, 0, buffers[i]});
  }
  for (const auto& end : run_task(*loop_, carry_out_all(*loop_, *lane_, transfers))) {
    ASSERT_EQ(end, std::nullopt);
  }
  for (std::size_t i = 0; i < kCount; i += 2) EXPECT_EQ(buffers[i], stored);
  EXPECT_EQ(read_back(*lane_, target, 0, kMiB), buffers[1]);
}

TEST_P(TransportContract, an_operation_outside_its_region_is_refused_and_touches_nothing) {
  const std::uint64_t size_bytes = region().length_bytes;
  auto background = pattern(4096, 9);
  ASSERT_EQ(write(*lane_, region(), size_bytes - 4096, background), std::nullopt);
  Bytes bytes(4096, std::byte{0x11});
  for (const std::uint64_t offset :
       {size_bytes - 4095, size_bytes, size_bytes + 1, UINT64_MAX, UINT64_MAX - 4095}) {
    EXPECT_EQ(write(*lane_, region(), offset, bytes), ErrorCode::kInvalidArgument);
    EXPECT_EQ(read(*lane_, region(), offset, bytes), ErrorCode::kInvalidArgument);
  }
  EXPECT_TRUE(std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0x11}; }));
  EXPECT_EQ(read_back(*lane_, region(), size_bytes - 4096, 4096), background);
  EXPECT_FALSE(lane_->is_broken());
}

TEST_P(TransportContract, an_operation_longer_than_the_limit_is_refused) {
  Bytes bytes(kMaxOperationBytes + 1);
  EXPECT_EQ(read(*lane_, region(), 0, bytes), ErrorCode::kInvalidArgument);
  EXPECT_FALSE(lane_->is_broken());
}

TEST_P(TransportContract, an_operation_of_no_bytes_succeeds) {
  EXPECT_EQ(write(*lane_, region(), 0, {}), std::nullopt);
  EXPECT_EQ(read(*lane_, region(), region().length_bytes, {}), std::nullopt);
}

TEST_P(TransportContract, a_deadline_that_has_passed_fails_and_leaves_the_lane_whole) {
  auto bytes = pattern(64, 5);
  const Transfer late{Kind::kWrite, &region(), 0, bytes, 0};
  EXPECT_EQ(run_task(*loop_, carry_out(*loop_, *lane_, late)), ErrorCode::kTimedOut);
  EXPECT_FALSE(lane_->is_broken());
  EXPECT_EQ(read_back(*lane_, region(), 0, 64), Bytes(64));
}

TEST_P(TransportContract, another_lane_reads_what_a_completed_write_has_written) {
  const std::unique_ptr<Lane> other = open(*lease_, 2);
  for (std::uint32_t i = 0; i < 50; ++i) {
    auto written = pattern(20'000, 100 + i);
    ASSERT_EQ(write(*lane_, region(), 123, written), std::nullopt);
    ASSERT_EQ(read_back(*other, region(), 123, written.size()), written);
  }
  close(*other);
}

TEST_P(TransportContract, leases_do_not_see_each_other) {
  const std::unique_ptr<HeldLease> other = take(8 * kMiB);
  const std::unique_ptr<Lane> other_lane = open(*other);
  auto written = pattern(4096, 1);
  ASSERT_EQ(write(*lane_, region(), 0, written), std::nullopt);
  EXPECT_EQ(read_back(*other_lane, other->regions().front(), 0, 4096), Bytes(4096));
  auto theirs = pattern(4096, 2);
  ASSERT_EQ(write(*other_lane, other->regions().front(), 0, theirs), std::nullopt);
  EXPECT_EQ(read_back(*lane_, region(), 0, 4096), written);
  close(*other_lane);
  run_task(*loop_, other->release(kTimeoutMs));
}

TEST_P(TransportContract, closing_completes_everything_in_flight) {
  struct Scenario {
    static Task<std::vector<std::optional<ErrorCode>>> run(EventLoop& loop, Lane& lane,
                                                           std::vector<Transfer> transfers) {
      std::vector<Operation> operations(transfers.size());
      OperationGroup group;
      for (std::size_t i = 0; i < transfers.size(); ++i) {
        fill(operations[i], transfers[i], loop.now_ns());
        group.add(operations[i]);
        lane.submit(operations[i]);
      }
      co_await lane.close();
      EXPECT_EQ(lane.stats().in_flight, 0U);
      [[maybe_unused]] const auto failure = co_await group;
      std::vector<std::optional<ErrorCode>> ends;
      for (const Operation& operation : operations) ends.push_back(operation.failure);
      co_return ends;
    }
  };
  std::vector<Bytes> buffers(64, Bytes(128 * 1024));
  std::vector<Transfer> transfers;
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    transfers.push_back({i % 2 == 0 ? Kind::kRead : Kind::kWrite, &region(), 0, buffers[i]});
  }
  const auto ends = run_task(*loop_, Scenario::run(*loop_, *lane_, transfers));
  for (const auto& end : ends) {
    EXPECT_TRUE(!end || *end == ErrorCode::kDisconnected);
  }
  EXPECT_TRUE(lane_->is_broken());
  EXPECT_EQ(lane_->stats().in_flight, 0U);
}

TEST_P(TransportContract, a_closed_lane_refuses_at_once_and_the_lease_opens_another) {
  auto written = pattern(4096, 4);
  ASSERT_EQ(write(*lane_, region(), 0, written), std::nullopt);
  close(*lane_);
  Operation operation;
  Bytes bytes(16);
  fill(operation, {Kind::kRead, &region(), 0, bytes}, loop_->now_ns());
  OperationGroup group;
  group.add(operation);
  lane_->submit(operation);
  EXPECT_EQ(lane_->stats().in_flight, 0U);
  EXPECT_EQ(operation.failure, ErrorCode::kDisconnected);
  const std::unique_ptr<Lane> fresh = open(*lease_);
  EXPECT_EQ(read_back(*fresh, region(), 0, 4096), written);
  close(*fresh);
}

// A write that was cut off may still arrive. Nothing may be written that it could overtake.
TEST_P(TransportContract, after_a_cut_nobody_writes_until_the_lane_is_there_again) {
  struct Cut {
    static Task<> run(EventLoop& loop, Lane& lane, Transfer transfer) {
      Operation operation;
      OperationGroup group;
      fill(operation, transfer, loop.now_ns());
      group.add(operation);
      lane.submit(operation);
      co_await lane.close();
      [[maybe_unused]] const auto failure = co_await group;
    }
  };
  const std::unique_ptr<Lane> other = open(*lease_, 2);
  auto cut_off = pattern(256 * 1024, 5);
  auto newer = pattern(256 * 1024, 6);
  run_task(*loop_, Cut::run(*loop_, *lane_, {Kind::kWrite, &region(), 0, cut_off}));
  const bool was_in_flight = lane_->stats().failures > 0;
  const auto end = write(*other, region(), 0, newer);
  if (was_in_flight) {
    EXPECT_EQ(end, ErrorCode::kDisconnected);
    EXPECT_EQ(read(*other, region(), 0, cut_off), std::nullopt) << "reading harms nobody";
    EXPECT_FALSE(other->is_broken());
  }
  lane_ = open(*lease_, 1);
  EXPECT_EQ(write(*other, region(), 0, newer), std::nullopt);
  EXPECT_EQ(read_back(*lane_, region(), 0, newer.size()), newer);
  close(*other);
}

TEST_P(TransportContract, the_counters_count) {
  auto bytes = pattern(1000, 4);
  ASSERT_EQ(write(*lane_, region(), 0, bytes), std::nullopt);
  ASSERT_EQ(write(*lane_, region(), 0, bytes), std::nullopt);
  ASSERT_EQ(read(*lane_, region(), 0, bytes), std::nullopt);
  EXPECT_EQ(read(*lane_, region(), region().length_bytes, bytes), ErrorCode::kInvalidArgument);
  const LaneStats& stats = lane_->stats();
  EXPECT_EQ(stats.writes, 2U);
  EXPECT_EQ(stats.written_bytes, 2000U);
  EXPECT_EQ(stats.reads, 1U);
  EXPECT_EQ(stats.read_bytes, 1000U);
  EXPECT_EQ(stats.failures, 1U);
  EXPECT_EQ(stats.in_flight, 0U);
}

TEST_P(TransportContract, the_end_of_the_provider_breaks_idle_lanes_and_the_lease) {
  if (!world_->can_die()) GTEST_SKIP() << "requester and provider are one";
  std::optional<Error> lane_reason;
  std::optional<Error> lease_reason;
  lane_->set_on_broken([&](const Error& reason) { lane_reason = reason; });
  lease_->set_on_disconnected([&](const Error& reason) { lease_reason = reason; });
  run_for_ms(*loop_, 10);
  world_->kill();
  for (int i = 0; i < 50 && !(lane_reason && lease_reason); ++i) run_for_ms(*loop_, 20);
  ASSERT_TRUE(lane_reason.has_value());
  ASSERT_TRUE(lease_reason.has_value());
  EXPECT_FALSE(lane_reason->message.empty());
  Bytes bytes(16);
  EXPECT_EQ(read(*lane_, region(), 0, bytes), ErrorCode::kDisconnected);
}

TEST_P(TransportContract, the_end_of_the_provider_completes_what_is_in_flight) {
  if (!world_->can_die()) GTEST_SKIP() << "requester and provider are one";
  struct Scenario {
    // Reads and writes until something fails.
    static Task<std::optional<ErrorCode>> run(EventLoop& loop, Lane& lane,
                                              std::vector<Transfer> transfers) {
      for (;;) {
        const auto ends = co_await carry_out_all(loop, lane, transfers);
        for (const auto& end : ends) {
          if (end) co_return end;
        }
        co_await loop.resume_here();
      }
    }
  };
  std::vector<Bytes> buffers(16, Bytes(128 * 1024));
  std::vector<Transfer> transfers;
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    transfers.push_back({i % 2 == 0 ? Kind::kRead : Kind::kWrite, &region(), 0, buffers[i], 2'000});
  }
  loop_->call_at(loop_->now_ns() + 50 * kNsPerMs, [this] { world_->kill(); });
  const std::uint64_t begin_ns = monotonic_ns();
  const auto end = run_task(*loop_, Scenario::run(*loop_, *lane_, transfers));
  if (!world_->renews_lanes() || end != ErrorCode::kTimedOut) {
    EXPECT_EQ(end, ErrorCode::kDisconnected);
  }
  EXPECT_LT(monotonic_ns() - begin_ns, 4'000 * kNsPerMs);
  EXPECT_EQ(lane_->stats().in_flight, 0U);
}

// What a worker does: a loop and a lane of its own, until the lane breaks or `stop` is set.
void use_lane_on_this_thread(HeldLease& lease, std::uint32_t seed, std::atomic<int>& ready,
                             const std::atomic<bool>& stop) {
  const std::unique_ptr<EventLoop> loop = make_loop();
  auto lane = run_task(*loop, lease.open_lane(*loop, seed + 1, {kTimeoutMs}));
  ASSERT_TRUE(lane.has_value()) << lane.error().message;
  ASSERT_TRUE((*lane)->announce_arena(arena()));
  const RemoteRegion& region = lease.regions().front();
  bool is_told = false;
  (*lane)->set_on_broken([&is_told](const Error& /*reason*/) { is_told = true; });
  for (std::uint32_t i = 0; i < 50; ++i) {
    auto written = pattern(10'000, seed * 1000 + i);
    Bytes found(written.size());
    const std::uint64_t offset = seed * written.size();
    ASSERT_EQ(run_task(*loop, carry_out(*loop, **lane, {Kind::kWrite, &region, offset, written})),
              std::nullopt);
    ASSERT_EQ(run_task(*loop, carry_out(*loop, **lane, {Kind::kRead, &region, offset, found})),
              std::nullopt);
    ASSERT_EQ(found, written);
  }
  ++ready;
  for (int i = 0; i < 2'000 && !stop && !is_told; ++i) run_for_ms(*loop, 5);
  EXPECT_TRUE(stop || is_told);
  run_task(*loop, (*lane)->close());
}

TEST_P(TransportContract, lanes_on_other_threads_work_and_learn_of_the_end) {
  constexpr int kThreads = 3;
  std::atomic<int> ready = 0;
  std::atomic<int> ended = 0;
  std::atomic<bool> stop = false;
  std::vector<std::jthread> threads;
  for (std::uint32_t seed = 1; seed <= kThreads; ++seed) {
    threads.emplace_back([&, seed] {
      use_lane_on_this_thread(*lease_, seed, ready, stop);
      ++ended;
    });
  }
  while (ready + ended < kThreads) run_for_ms(*loop_, 5);
  if (world_->can_die()) {
    world_->kill();
  } else {
    stop = true;
  }
  while (ended < kThreads) run_for_ms(*loop_, 5);
}

TEST_P(TransportContract, after_a_restart_of_the_provider_the_lease_is_lost) {
  if (!world_->can_die()) GTEST_SKIP() << "requester and provider are one";
  world_->kill();
  world_->start_again();
  run_for_ms(*loop_, 20);
  const Status again = run_task(*loop_, lease_->reconnect(kTimeoutMs));
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code, ErrorCode::kLost) << again.error().message;
}

TEST_P(TransportContract, a_lease_survives_the_cut_of_its_control_connection) {
  auto written = pattern(4096, 4);
  ASSERT_EQ(write(*lane_, region(), 0, written), std::nullopt);
  close(*lane_);
  lane_.reset();
  const Status again = run_task(*loop_, lease_->reconnect(kTimeoutMs));
  ASSERT_TRUE(again.has_value()) << again.error().message;
  lane_ = open(*lease_);
  EXPECT_EQ(read_back(*lane_, region(), 0, 4096), written);
}

TEST_P(TransportContract, what_was_released_can_be_leased_again_and_is_zero) {
  const auto take_whole_pool = [this] {
    close(*lane_);
    lane_.reset();
    run_task(*loop_, lease_->release(kTimeoutMs));
    lease_ = take(0);
    lane_ = open(*lease_);
  };
  const auto for_each_piece = [this](const auto& act) {
    for (const RemoteRegion& each : lease_->regions()) {
      for (std::uint64_t offset = 0; offset < each.length_bytes; offset += kMiB) act(each, offset);
    }
  };
  take_whole_pool();
  Bytes canaries(kMiB, std::byte{0xC5});
  for_each_piece([&](const RemoteRegion& each, std::uint64_t offset) {
    EXPECT_EQ(write(*lane_, each, offset, canaries), std::nullopt);
  });
  take_whole_pool();
  for_each_piece([&](const RemoteRegion& each, std::uint64_t offset) {
    EXPECT_TRUE(read_back(*lane_, each, offset, kMiB) == Bytes(kMiB))
        << each.index << ' ' << offset;
  });
}

INSTANTIATE_TEST_SUITE_P(Transports, TransportContract,
                         testing::Values(local_world(), tcp_world(), tcp_key_world(),
                                         tcp_tls_world(), tcp_renewing_world(), unix_world(),
                                         shm_world(), verbs_world(), verbs_key_world()),
                         [](const auto& about) { return about.param.name; });

}  // namespace

}  // namespace rram::test
