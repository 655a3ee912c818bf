#include "fusefs/file_gates.h"

#include <gtest/gtest.h>

#include <vector>

namespace rram {

// The gates only carry waiters around: here, names.
class GateWaiter {
 public:
  int name = 0;
};

namespace {

constexpr Ino kFile = 7;

TEST(FileGates, shared_holders_do_not_exclude_each_other_and_exclude_an_exclusive_one) {
  FileGates gates;
  EXPECT_TRUE(gates.try_enter(kFile, GateMode::kShared));
  EXPECT_TRUE(gates.try_enter(kFile, GateMode::kShared));
  EXPECT_FALSE(gates.try_enter(kFile, GateMode::kExclusive));
  EXPECT_TRUE(gates.try_enter(kFile + 1, GateMode::kExclusive));
  EXPECT_FALSE(gates.try_enter(kFile + 1, GateMode::kShared));
}

TEST(FileGates, who_waits_enters_in_order_and_later_ones_do_not_overtake) {
  FileGates gates;
  std::vector<GateWaiter> waiters(4);
  std::vector<GateWaiter*> admitted;
  EXPECT_TRUE(gates.try_enter(kFile, GateMode::kShared));
  EXPECT_FALSE(gates.enter_or_queue(kFile, GateMode::kExclusive, waiters[0]));
  EXPECT_FALSE(gates.enter_or_queue(kFile, GateMode::kShared, waiters[1]));
  EXPECT_FALSE(gates.enter_or_queue(kFile, GateMode::kShared, waiters[2]));
  EXPECT_FALSE(gates.enter_or_queue(kFile, GateMode::kExclusive, waiters[3]));
  EXPECT_FALSE(gates.try_enter(kFile, GateMode::kShared));

  gates.leave(kFile, GateMode::kShared, admitted);
  EXPECT_EQ(admitted, (std::vector<GateWaiter*>{&waiters[0]}));
  admitted.clear();
  gates.leave(kFile, GateMode::kExclusive, admitted);
  EXPECT_EQ(admitted, (std::vector<GateWaiter*>{&waiters[1], &waiters[2]}));
  admitted.clear();
  gates.leave(kFile, GateMode::kShared, admitted);
  EXPECT_TRUE(admitted.empty());
  gates.leave(kFile, GateMode::kShared, admitted);
  EXPECT_EQ(admitted, (std::vector<GateWaiter*>{&waiters[3]}));
  admitted.clear();
  gates.leave(kFile, GateMode::kExclusive, admitted);
  EXPECT_TRUE(admitted.empty());
  EXPECT_EQ(gates.busy_files(), 0U);
}

}  // namespace
}  // namespace rram
