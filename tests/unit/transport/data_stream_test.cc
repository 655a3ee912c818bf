// DataStream against a provider in memory that takes and gives its bytes in pieces of random size.
#include "rdma/tcp/data_stream.h"

#include <gtest/gtest.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "rdma/wire/codec.h"

namespace rram {

namespace {

using Kind = Operation::Kind;

// Carries out requests on its memory; replies gather in `output`.
class MemoryProvider {
 public:
  explicit MemoryProvider(std::size_t size_bytes) : memory(size_bytes) {}

  void receive(std::span<const std::byte> bytes) {
    input_.insert(input_.end(), bytes.begin(), bytes.end());
    while (take_request()) {
    }
  }

  std::vector<std::byte> memory;
  std::vector<std::byte> output;

 private:
  bool take_request() {
    if (input_.size() < sizeof(DataRequest)) return false;
    const std::span<const std::byte> input(input_);
    const Result<DataRequest> request = decode_data_request(input.first(sizeof(DataRequest)));
    EXPECT_TRUE(request.has_value());
    const bool is_write = request->header.type == FrameType::kWrite;
    const std::size_t payload_bytes = is_write ? request->length : 0;
    if (input.size() < sizeof(DataRequest) + payload_bytes) return false;
    const auto place = memory.begin() + static_cast<std::ptrdiff_t>(request->offset);
    if (is_write) {
      std::ranges::copy(input.subspan(sizeof(DataRequest), payload_bytes), place);
      put(bytes_of(make_write_reply(request->header.tag)));
    } else {
      put(bytes_of(make_read_reply(request->header.tag, request->length)));
      output.insert(output.end(), place, place + request->length);
    }
    input_.erase(input_.begin(),
                 input_.begin() + static_cast<std::ptrdiff_t>(sizeof(DataRequest) + payload_bytes));
    return true;
  }
  void put(std::span<const std::byte> bytes) {
    output.insert(output.end(), bytes.begin(), bytes.end());
  }

  std::vector<std::byte> input_;
};

struct Job {
  Operation operation;
  std::vector<std::byte> buffer;
};

class DataStreamTest : public testing::Test {
 protected:
  static constexpr std::size_t kMemoryBytes = 300'000;

  std::unique_ptr<Job> make(Kind kind, std::uint64_t offset_bytes, std::size_t length_bytes) {
    auto job = std::make_unique<Job>();
    job->buffer.resize(length_bytes);
    job->operation.kind = kind;
    job->operation.region = &region_;
    job->operation.offset_bytes = offset_bytes;
    job->operation.local = job->buffer;
    return job;
  }

  // Sends up to `limit_bytes` of what is planned; returns how many.
  std::size_t send(std::size_t limit_bytes) {
    std::array<iovec, 16> parts{};
    const std::size_t count = stream_.plan_send(parts);
    std::size_t sent = 0;
    for (const iovec& part : std::span(parts).first(count)) {
      const std::size_t length = std::min(part.iov_len, limit_bytes - sent);
      provider_.receive({static_cast<const std::byte*>(part.iov_base), length});
      sent += length;
    }
    if (sent > 0) stream_.on_sent(sent);
    return sent;
  }

  // Receives up to `limit_bytes` of what the provider has to say.
  Status receive(std::size_t limit_bytes) {
    std::array<iovec, 16> parts{};
    const std::size_t count = stream_.plan_receive(parts).parts;
    std::size_t received = 0;
    for (const iovec& part : std::span(parts).first(count)) {
      const std::size_t length =
          std::min({part.iov_len, limit_bytes - received, provider_.output.size() - received});
      if (length > 0) std::memcpy(part.iov_base, provider_.output.data() + received, length);
      received += length;
    }
    provider_.output.erase(provider_.output.begin(),
                           provider_.output.begin() + static_cast<std::ptrdiff_t>(received));
    return received == 0 ? Status{} : stream_.on_received(received);
  }

  RemoteRegion region_{0, kMemoryBytes};
  MemoryProvider provider_{kMemoryBytes};
  DataStream stream_;
};

TEST_F(DataStreamTest, one_read_and_one_write) {
  const auto write = make(Kind::kWrite, 100, 50);
  std::ranges::fill(write->buffer, std::byte{7});
  const auto read = make(Kind::kRead, 100, 50);
  stream_.push(write->operation);
  stream_.push(read->operation);
  EXPECT_TRUE(stream_.has_unsent());
  EXPECT_EQ(send(SIZE_MAX), 2 * sizeof(DataRequest) + 50);
  EXPECT_FALSE(stream_.has_unsent());
  EXPECT_EQ(stream_.take_finished(), nullptr);
  ASSERT_TRUE(receive(SIZE_MAX).has_value());
  EXPECT_EQ(stream_.take_finished(), &write->operation);
  EXPECT_EQ(stream_.take_finished(), &read->operation);
  EXPECT_EQ(read->buffer, write->buffer);
  EXPECT_TRUE(stream_.is_empty());
}

TEST_F(DataStreamTest, a_reply_to_what_has_not_left_is_kept_until_it_has) {
  const auto write = make(Kind::kWrite, 0, 100);
  stream_.push(write->operation);
  std::array<iovec, 4> parts{};
  ASSERT_EQ(stream_.plan_send(parts), 2U);
  const FrameHeader reply = make_write_reply(1);
  provider_.output.assign(bytes_of(reply).begin(), bytes_of(reply).end());
  ASSERT_TRUE(receive(SIZE_MAX).has_value());
  EXPECT_EQ(stream_.take_finished(), nullptr);
  stream_.on_sent(sizeof(DataRequest) + 99);
  EXPECT_EQ(stream_.take_finished(), nullptr);
  stream_.on_sent(1);
  EXPECT_EQ(stream_.take_finished(), &write->operation);
}

TEST_F(DataStreamTest, a_large_reply_is_waited_for_alone_and_small_ones_together) {
  const auto large = make(Kind::kRead, 0, 200'000);
  const auto small = make(Kind::kRead, 0, 100);
  std::array<iovec, 16> parts{};
  stream_.push(large->operation);
  stream_.push(small->operation);
  const DataStream::ReceivePlan plan = stream_.plan_receive(parts);
  EXPECT_TRUE(plan.wait_for_all);
  EXPECT_EQ(plan.parts, 2U);
  stream_.take_any();
  const DataStream::ReceivePlan rest = stream_.plan_receive(parts);
  EXPECT_FALSE(rest.wait_for_all);
  EXPECT_EQ(rest.parts, 2U);
  stream_.take_any();
}

TEST_F(DataStreamTest, finds_the_overdue) {
  const auto first = make(Kind::kRead, 0, 10);
  const auto second = make(Kind::kRead, 0, 10);
  first->operation.deadline_ns = 200;
  second->operation.deadline_ns = 100;
  stream_.push(first->operation);
  stream_.push(second->operation);
  EXPECT_EQ(stream_.find_overdue(99), nullptr);
  EXPECT_EQ(stream_.find_overdue(100), &second->operation);
  EXPECT_EQ(stream_.find_overdue(200), &first->operation);
  stream_.take_any();
  stream_.take_any();
}

// Operations are carried out in order, so the provider's memory after each is known.
TEST_F(DataStreamTest, random_operations_in_random_pieces) {
  for (std::uint32_t seed = 1; seed <= 24; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&random](std::size_t limit) { return random() % limit; };
    std::vector<std::byte> model = provider_.memory;
    struct Expected {
      std::unique_ptr<Job> job;
      std::vector<std::byte> content;
    };
    std::deque<Expected> in_flight;
    std::size_t to_do = 200;
    const std::size_t max_piece = std::array<std::size_t, 4>{3, 40, 5'000, 300'000}[below(4)];
    while (to_do > 0 || !in_flight.empty()) {
      if (to_do > 0 && below(3) == 0) {
        --to_do;
        const bool is_large = max_piece >= 5'000 && below(10) == 0;
        const std::size_t length =
            1 + below(is_large ? 150'000 : std::min(std::size_t{3'000}, max_piece * 3));
        const std::uint64_t offset = below(kMemoryBytes - length);
        auto job = make(below(2) == 0 ? Kind::kRead : Kind::kWrite, offset, length);
        const auto place = model.begin() + static_cast<std::ptrdiff_t>(offset);
        std::vector<std::byte> content;
        if (job->operation.kind == Kind::kWrite) {
          for (std::byte& byte : job->buffer) byte = static_cast<std::byte>(random());
          std::ranges::copy(job->buffer, place);
        } else {
          content.assign(place, place + static_cast<std::ptrdiff_t>(length));
        }
        stream_.push(job->operation);
        in_flight.push_back({std::move(job), std::move(content)});
      }
      send(1 + below(max_piece));
      const Status status = receive(1 + below(max_piece));
      ASSERT_TRUE(status.has_value()) << status.error().message;
      while (const Operation* done = stream_.take_finished()) {
        ASSERT_EQ(done, &in_flight.front().job->operation) << "seed " << seed;
        if (done->kind == Kind::kRead) {
          ASSERT_EQ(in_flight.front().job->buffer, in_flight.front().content) << "seed " << seed;
        }
        in_flight.pop_front();
      }
    }
    ASSERT_EQ(provider_.memory, model);
  }
}

}  // namespace

}  // namespace rram
