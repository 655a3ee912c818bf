// Who is told what, on which thread, when leases end. Devices are played by on_fenced.
#include "provider/lease_keeper.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "tests/unit/provider/provider_helpers.h"

namespace rram::test {
namespace {

constexpr ConnectionId kControl = 11;
constexpr std::uint32_t kSegments = 4;

class LeaseKeeperTest : public testing::Test {
 protected:
  static LeaseTableOptions options() {
    LeaseTableOptions options;
    options.segment_count = kSegments;
    options.segment_bytes = kSegmentBytes;
    return options;
  }

  // Of the whole pool.
  LeaseId take_all() {
    LeaseWish wish;
    wish.control = kControl;
    const LeaseKeeper::Answer answer = keeper_.grant(std::move(wish));
    return std::get<HeldLeaseView>(answer).terms.lease_id;
  }

  std::unique_ptr<Pool> pool_ = make_pool(kSegments);
  Diary gate_;
  Diary diary_;
  std::thread::id fencing_thread_;
  LeaseKeeper keeper_{
      *pool_, options(), silent_log(),
      [this](ConnectionId /*id*/, const ConnectionOrder& order) {
        diary_.write(order.kind == ConnectionOrder::Kind::kReleased ? "released" : "ended");
      },
      [this](const LeaseId& /*lease*/) {
        fencing_thread_ = std::this_thread::get_id();
        gate_.wait_for("open");
        diary_.write("fenced");
      }};
};

TEST_F(LeaseKeeperTest, nobody_waits_for_the_devices_but_the_memory_and_the_word_released) {
  const LeaseId lease = take_all();
  ASSERT_TRUE(keeper_.release(lease, kControl)) << "it must return while the gate is closed";
  EXPECT_EQ(keeper_.totals().reclaiming_bytes, kSegments * kSegmentBytes);
  EXPECT_TRUE(diary_.entries().empty());
  gate_.write("open");
  EXPECT_EQ(diary_.wait_for(2), (std::vector<std::string>{"fenced", "released"}));
  EXPECT_NE(fencing_thread_, std::this_thread::get_id());
  while (keeper_.totals().free_bytes < kSegments * kSegmentBytes) std::this_thread::yield();
}

TEST_F(LeaseKeeperTest, the_lanes_of_a_released_lease_end_before_it_is_fenced) {
  gate_.write("open");
  LeaseWish wish;
  wish.control = kControl;
  const LeaseKeeper::Answer answer = keeper_.grant(std::move(wish));
  const LeaseTerms& terms = std::get<HeldLeaseView>(answer).terms;
  constexpr ConnectionId kLane = 21;
  ASSERT_TRUE(keeper_.attach({Role::kData, terms.lease_id, terms.token, 1, kLane, "test"}));
  ASSERT_TRUE(keeper_.release(terms.lease_id, kControl));
  EXPECT_EQ(diary_.entries(), (std::vector<std::string>{"ended"}));
  keeper_.detach(terms.lease_id, kLane, Departure::kClosed);
  EXPECT_EQ(diary_.wait_for(3), (std::vector<std::string>{"ended", "fenced", "released"}));
}

}  // namespace
}  // namespace rram::test
