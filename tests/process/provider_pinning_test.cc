// What a provider lends while its memory is still being pinned, and when that fails or is called
// off.
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <sstream>
#include <thread>

#include "tests/process/provider_fixture.h"

namespace rram::test {
namespace {

class ProviderPinningTest : public ProviderFixture {
 protected:
  static constexpr std::uint64_t kFirstBytes = 8 * kMiB;

  // The first four segments are pinned, the rest waits for open() or refuse().
  ProviderPinningTest() {
    options_.may_take_memory = [this](std::uint64_t bytes) { return pass_gate(bytes); };
    options_.log = std::make_shared<spdlog::logger>(
        "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log_));
  }
  ~ProviderPinningTest() override {
    open();
    server_.reset();
  }

  void open() { set_gate(Gate::kOpen); }
  void refuse() { set_gate(Gate::kRefusing); }

  [[nodiscard]] bool first_part_is_pinned() const {
    return eventually([this] { return server_->pinned_bytes() == kFirstBytes; });
  }
  [[nodiscard]] bool all_that_is_left_is_free(std::uint64_t pool_bytes) const {
    return eventually([&] { return server_->stats().free_bytes == pool_bytes; });
  }

 private:
  enum class Gate : std::uint8_t { kClosed, kOpen, kRefusing };

  void set_gate(Gate gate) {
    const std::lock_guard lock(mutex_);
    gate_ = gate;
    changed_.notify_all();
  }

  Status pass_gate(std::uint64_t bytes) {
    std::unique_lock lock(mutex_);
    if (let_through_bytes_ < kFirstBytes) {
      let_through_bytes_ += bytes;
      return {};
    }
    changed_.wait(lock, [this] { return gate_ != Gate::kClosed; });
    if (gate_ == Gate::kOpen) return {};
    return fail(ErrorCode::kUnavailable, "the host is full; lend less");
  }

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  Gate gate_ = Gate::kClosed;
  std::uint64_t let_through_bytes_ = 0;

 protected:
  std::ostringstream log_;  // to be read when the server is gone
};

TEST_F(ProviderPinningTest, what_is_pinned_is_lent_and_usable_at_once) {
  start_pinning();
  ASSERT_TRUE(first_part_is_pinned());
  RawRequester control(tcp());
  ASSERT_TRUE(control.hello(Role::kControl));
  const std::optional<RawLease> lease = control.take_lease(4 * kMiB);
  ASSERT_TRUE(lease);
  EXPECT_EQ(lease->grant.bytes, 4 * kMiB);
  RawRequester lane(tcp());
  ASSERT_TRUE(lane.hello(Role::kData));
  ASSERT_TRUE(lane.attach(lease->grant.lease_id, lease->grant.token, 1));
  const std::vector<std::byte> data(kMiB, std::byte{0x3c});
  EXPECT_TRUE(lane.write(1, 5, data));
  EXPECT_EQ(lane.read(1, 5, kMiB), data);
  const StatsReply stats = server_->stats();
  EXPECT_EQ(stats.pool_bytes, kPoolBytes);
  EXPECT_EQ(stats.leased_bytes, 4 * kMiB);
  EXPECT_EQ(stats.free_bytes, kFirstBytes - 4 * kMiB);
  EXPECT_EQ(stats.reclaiming_bytes, kPoolBytes - kFirstBytes);
}

TEST_F(ProviderPinningTest, who_wants_all_waits_and_then_gets_all) {
  start_pinning();
  ASSERT_TRUE(first_part_is_pinned());
  RawRequester requester(tcp());
  ASSERT_TRUE(requester.hello(Role::kControl));
  const std::optional<RawFrame> wait = requester.ask_lease(0);
  ASSERT_TRUE(wait);
  ASSERT_EQ(wait->header.type, FrameType::kLeaseWait);
  EXPECT_EQ(decode_lease_wait(wait->body)->reclaiming_bytes, kPoolBytes - kFirstBytes);
  open();
  ASSERT_TRUE(server_->wait_until_pinned());
  const std::optional<RawLease> lease = requester.take_lease(0);
  ASSERT_TRUE(lease);
  EXPECT_EQ(lease->grant.bytes, kPoolBytes);
}

TEST_F(ProviderPinningTest, waiting_for_it_can_be_called_off_and_taken_up_again) {
  start_pinning();
  std::uint64_t last_bytes = 0;
  const Status called_off =
      server_->wait_until_pinned([&](std::uint64_t done_bytes, std::uint64_t total_bytes) {
        EXPECT_GE(done_bytes, last_bytes);
        EXPECT_EQ(total_bytes, kPoolBytes);
        last_bytes = done_bytes;
        return done_bytes < kFirstBytes;
      });
  ASSERT_FALSE(called_off);
  EXPECT_EQ(called_off.error().code, ErrorCode::kCancelled);
  open();
  EXPECT_TRUE(server_->wait_until_pinned());
  EXPECT_EQ(server_->pinned_bytes(), kPoolBytes);
}

TEST_F(ProviderPinningTest, stopping_in_the_middle_ends_connections_as_ever) {
  start_pinning();
  ASSERT_TRUE(first_part_is_pinned());
  RawRequester control(unix_socket());
  ASSERT_TRUE(control.hello(Role::kControl));
  ASSERT_TRUE(control.take_lease(4 * kMiB));
  std::jthread stopper([this] { server_->stop(); });
  open();
  EXPECT_EQ(control.receive_error(), WireError::kShuttingDown);
  control.close();
  stopper.join();
  EXPECT_FALSE(std::filesystem::exists(socket_path()));
}

TEST_F(ProviderPinningTest, if_nothing_was_lent_a_failure_is_the_end) {
  start_pinning();
  RawRequester requester(tcp());
  ASSERT_TRUE(requester.hello(Role::kControl));
  refuse();
  const Status failed = server_->wait_until_pinned();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, "the host is full; lend less");
  const std::optional<RawFrame> answer = requester.ask_lease(2 * kMiB);
  ASSERT_TRUE(answer);
  ASSERT_EQ(answer->header.type, FrameType::kError) << "not even what is pinned";
  EXPECT_EQ(decode_error(answer->body)->code, WireError::kLimit);
}

TEST_F(ProviderPinningTest, after_something_was_lent_the_pool_shrinks_to_what_is_pinned) {
  start_pinning();
  ASSERT_TRUE(first_part_is_pinned());
  RawRequester holder(tcp());
  ASSERT_TRUE(holder.hello(Role::kControl));
  ASSERT_TRUE(holder.take_lease(4 * kMiB));
  refuse();
  ASSERT_TRUE(server_->wait_until_pinned());
  EXPECT_EQ(server_->pool_bytes(), kFirstBytes);
  const StatsReply stats = server_->stats();
  EXPECT_EQ(stats.pool_bytes, kFirstBytes);
  EXPECT_EQ(stats.leased_bytes, 4 * kMiB);
  EXPECT_EQ(stats.free_bytes, kFirstBytes - 4 * kMiB);
  EXPECT_EQ(stats.reclaiming_bytes, 0);
  RawRequester other(tcp());
  const std::optional<HelloReply> hello = other.hello(Role::kControl);
  ASSERT_TRUE(hello);
  EXPECT_EQ(hello->pool_bytes, kFirstBytes);
  const std::optional<RawLease> rest = other.take_lease(0);
  ASSERT_TRUE(rest);
  EXPECT_EQ(rest->grant.bytes, kFirstBytes - 4 * kMiB);
  holder.close();
  other.close();
  EXPECT_TRUE(all_that_is_left_is_free(kFirstBytes)) << "leases end as ever";
  server_.reset();
  const std::string log = log_.str();
  EXPECT_NE(log.find("shrinks from 32.0 MiB to the 8.0 MiB"), std::string::npos) << log;
  EXPECT_NE(log.find("the host is full; lend less"), std::string::npos) << log;
}

}  // namespace
}  // namespace rram::test
