// What a session is told when records end a connection.
#include "rdma/control/byte_channel.h"

#include <gtest/gtest.h>

namespace rram::test {
namespace {

TEST(ByteChannel, a_key_that_is_used_up_is_not_called_a_changed_record) {
  const std::optional<Error> used_up = records_ended(-EKEYEXPIRED);
  ASSERT_TRUE(used_up);
  EXPECT_NE(used_up->message.find("used up after 16777216 records"), std::string::npos);
  const std::optional<Error> changed = records_ended(-EBADMSG);
  ASSERT_TRUE(changed);
  EXPECT_NE(changed->message.find("not what the peer sealed"), std::string::npos);
  for (const int other : {-ECANCELED, -ETIMEDOUT, 0, 1}) EXPECT_FALSE(records_ended(other));
}

}  // namespace
}  // namespace rram::test
