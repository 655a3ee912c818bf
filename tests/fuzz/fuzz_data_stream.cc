// The requester's end of a data connection: Operations, pieces of any size, and a provider that
// answers rightly, wrongly, or with anything. Operations end in order, each once; what a right
// provider answered is in the buffer, and nothing is written beside it.
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <vector>

#include "rdma/tcp/data_stream.h"
#include "rdma/wire/codec.h"
#include "tests/fuzz/fuzz_input.h"

namespace rram::fuzz {
namespace {

constexpr std::size_t kMaxUnderWay = 64;
constexpr std::size_t kMaxOutputBytes = std::size_t{1} << 20;
constexpr int kMaxSteps = 400;

struct Job {
  Operation operation;
  std::vector<std::byte> buffer;  // of exactly the size: the sanitizer guards its end
  std::uint64_t tag = 0;
  bool is_answered = false;  // by an honest reply, completely
};

// What an honest provider's memory holds for the read of this tag.
std::byte content_of(std::uint64_t tag) { return static_cast<std::byte>(tag * 7 + 1); }

class Harness {
 public:
  ~Harness() {
    while (stream_.take_any() != nullptr) {
    }
  }

  void step(Input& input) {
    const std::uint8_t operation = input.byte();
    switch (operation % 8) {
      case 0:
      case 1:
        return push(operation % 2 == 0 ? Operation::Kind::kRead : Operation::Kind::kWrite, input);
      case 2:
        return send(std::size_t{input.byte()} << operation / 16);
      case 3:
        return answer();
      case 4:
        return receive(1 + (std::size_t{input.byte()} << operation / 16));
      case 5:
        is_honest_ = false;
        return put(input.bytes(input.byte()));
      case 6:
        is_honest_ = false;
        return put(encode_error(static_cast<WireError>(input.byte()), input.text(operation / 8)));
      default:
        if (output_.empty()) return;
        is_honest_ = false;
        output_[input.number<std::uint16_t>() % output_.size()] ^= std::byte{input.byte()};
    }
  }

  [[nodiscard]] bool is_broken() const { return is_broken_; }

 private:
  void push(Operation::Kind kind, Input& input) {
    if (jobs_.size() >= kMaxUnderWay) return;
    const std::uint8_t shift = input.byte() % 6;
    auto job = std::make_unique<Job>();
    job->buffer.resize(1 + (std::size_t{input.number<std::uint16_t>()} << shift));
    job->operation.kind = kind;
    job->operation.region = &region_;
    job->operation.local = job->buffer;
    job->tag = ++last_tag_;
    stream_.push(job->operation);
    jobs_.push_back(std::move(job));
  }

  void send(std::size_t limit_bytes) {
    std::array<iovec, 16> parts{};
    std::size_t planned_bytes = 0;
    for (const iovec& part : std::span(parts).first(stream_.plan_send(parts))) {
      planned_bytes += part.iov_len;
    }
    stream_.on_sent(std::min(planned_bytes, limit_bytes));
    take_finished();
  }

  // The oldest request that has no honest answer yet gets one.
  void answer() {
    const auto next =
        std::ranges::find(jobs_, false, [](const auto& job) { return job->is_answered; });
    if (next == jobs_.end() || output_.size() > kMaxOutputBytes) return;
    Job& job = **next;
    job.is_answered = true;
    if (job.operation.kind == Operation::Kind::kWrite)
      return put(bytes_of(make_write_reply(job.tag)));
    put(bytes_of(make_read_reply(job.tag, static_cast<std::uint32_t>(job.buffer.size()))));
    output_.insert(output_.end(), job.buffer.size(), content_of(job.tag));
  }

  void put(std::span<const std::byte> bytes) {
    output_.insert(output_.end(), bytes.begin(), bytes.end());
  }

  void receive(std::size_t limit_bytes) {
    std::array<iovec, 16> parts{};
    const std::size_t count = stream_.plan_receive(parts).parts;
    require(count > 0);
    std::size_t received = 0;
    for (const iovec& part : std::span(parts).first(count)) {
      const std::size_t length =
          std::min({part.iov_len, limit_bytes - received, output_.size() - received});
      if (length > 0) std::memcpy(part.iov_base, output_.data() + received, length);
      received += length;
    }
    if (received == 0) return;
    output_.erase(output_.begin(), output_.begin() + static_cast<std::ptrdiff_t>(received));
    const Status status = stream_.on_received(received);
    take_finished();
    require(status.has_value() || !is_honest_);
    require(status.has_value() || !status.error().message.empty());
    is_broken_ = !status;
  }

  void take_finished() {
    while (const Operation* done = stream_.take_finished()) {
      const std::unique_ptr<Job> job = std::move(jobs_.front());
      jobs_.pop_front();
      require(done == &job->operation);
      if (!is_honest_) continue;
      require(job->is_answered);
      if (done->kind == Operation::Kind::kWrite) continue;
      require(
          std::ranges::all_of(job->buffer, [&](std::byte b) { return b == content_of(job->tag); }));
    }
  }

  const RemoteRegion region_{0, std::uint64_t{1} << 40};
  std::deque<std::unique_ptr<Job>> jobs_;  // oldest first; outlive the stream's list of them
  DataStream stream_;
  std::vector<std::byte> output_;  // of the provider, on its way
  std::uint64_t last_tag_ = 0;
  bool is_honest_ = true;
  bool is_broken_ = false;
};

}  // namespace
}  // namespace rram::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  rram::fuzz::Input input(data, size);
  rram::fuzz::Harness harness;
  for (int steps = 0; !input.empty() && !harness.is_broken() && steps < rram::fuzz::kMaxSteps;
       ++steps) {
    harness.step(input);
  }
  return 0;
}
