// A shared mapping outlives the lease: what the lane says about memory that may no longer be ours.

#include "rdma/shm/shm_lane.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/event_loop.h"

namespace rram {
namespace {

constexpr std::uint64_t kRegionBytes = 8192;

class ShmLaneTest : public testing::Test {
 protected:
  ShmLaneTest() {
    std::vector<UniqueFd> descriptors;
    descriptors.emplace_back(::memfd_create("segment", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    EXPECT_EQ(::ftruncate(descriptors.front().get(), kRegionBytes), 0);
    EXPECT_EQ(::fcntl(descriptors.front().get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    lane_ = std::make_unique<ShmLane>(*loop_, SegmentMap::create(descriptors, kRegionBytes).value(),
                                      life_);
  }

  // How an operation of this kind ends; it does so inside submit().
  std::optional<ErrorCode> outcome_of(Operation::Kind kind) {
    Operation operation;
    operation.kind = kind;
    operation.region = &region_;
    operation.local = buffer_;
    operation.deadline_ns = loop_->now_ns() + 60'000'000'000;
    OperationGroup group;
    group.add(operation);
    lane_->submit(operation);
    return operation.failure;
  }

  std::unique_ptr<EventLoop> loop_ = EventLoop::create(RingOptions{}).value();
  std::shared_ptr<ProviderLife> life_ = std::make_shared<ProviderLife>();
  std::unique_ptr<ShmLane> lane_;
  const RemoteRegion region_{0, kRegionBytes};
  std::array<std::byte, 4096> buffer_{};
};

TEST_F(ShmLaneTest, memory_of_a_confirmed_lease_is_read_and_written) {
  life_->confirm(loop_->now_ms() + 60'000);
  EXPECT_EQ(outcome_of(Operation::Kind::kWrite), std::nullopt);
  EXPECT_EQ(outcome_of(Operation::Kind::kRead), std::nullopt);
  EXPECT_FALSE(lane_->is_broken());
}

TEST_F(ShmLaneTest, a_read_after_the_lease_may_have_ended_fails) {
  life_->confirm(loop_->now_ms());
  EXPECT_EQ(outcome_of(Operation::Kind::kRead), ErrorCode::kDisconnected);
  EXPECT_TRUE(lane_->is_broken());
}

TEST_F(ShmLaneTest, a_write_after_the_lease_may_have_ended_fails) {
  life_->confirm(loop_->now_ms());
  EXPECT_EQ(outcome_of(Operation::Kind::kWrite), ErrorCode::kDisconnected);
}

TEST_F(ShmLaneTest, a_late_answer_of_the_provider_does_not_mend_a_broken_lane) {
  life_->confirm(loop_->now_ms());
  outcome_of(Operation::Kind::kRead);
  life_->confirm(loop_->now_ms() + 60'000);
  EXPECT_EQ(outcome_of(Operation::Kind::kRead), ErrorCode::kDisconnected);
}

}  // namespace
}  // namespace rram
