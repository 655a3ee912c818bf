#include "fusefs/front/ring_queue.h"

#include <fmt/format.h>
#include <cerrno>
#include <cstring>

#include "fusefs/worker.h"

namespace rram {

namespace {
constexpr std::size_t kPageBytes = 4096;
// A header area is given a page's half: 288 bytes used, and none shared by two entries' cache
// lines.
constexpr std::size_t kHeaderStrideBytes = 512;
// How long to wait before registering again, while the kernel has not processed INIT.
constexpr std::uint64_t kRegisterRetryNs = 500'000;
}  // namespace

static_assert(sizeof(fuse_abi::RingRequestHeader) <= kHeaderStrideBytes);

class RingQueue::Entry final : public RingCompletion, public RequestSlot {
 public:
  // room: one page for the headers that are put before the payload, then the payload.
  Entry(RingQueue& queue, fuse_abi::RingRequestHeader* header, std::span<std::byte> room)
      : RequestSlot(queue.worker_),
        queue_(queue),
        header_(header),
        payload_(room.subspan(kPageBytes)),
        buffers_{iovec{header_, sizeof *header_}, iovec{payload_.data(), payload_.size()}} {}

  void register_with_kernel() {
    is_registering_ = true;
    submit(fuse_abi::RingCommand::kRegister);
  }

  void on_completion(std::int32_t result, std::uint32_t /*flags*/) override {
    if (result == 0) {
      is_registering_ = false;
      process_request();
      return;
    }
    if ((result == -EAGAIN && is_registering_) || result == -EINTR) {
      EventLoop& loop = worker().loop();
      loop.call_at(loop.now_ns() + kRegisterRetryNs, [this] { submit(last_command_); });
      return;
    }
    queue_.on_entry_ended(result);
  }

  std::span<std::byte> reply_payload() override { return payload_; }
  ssize_t send_reply(std::span<const iovec> parts) override;

 private:
  void submit(fuse_abi::RingCommand command);
  void process_request();
  ssize_t send_error(const iovec& header_part, int errno_value);

  RingQueue& queue_;
  fuse_abi::RingRequestHeader* header_;
  std::span<std::byte> payload_;
  iovec buffers_[2];
  std::uint64_t commit_id_ = 0;
  fuse_abi::RingCommand last_command_ = fuse_abi::RingCommand::kRegister;
  bool is_registering_ = false;
};

void RingQueue::Entry::submit(fuse_abi::RingCommand command) {
  last_command_ = command;
  const bool is_reply = command == fuse_abi::RingCommand::kCommitAndFetch;
  fuse_abi::RingCommandRequest request{};
  request.queue_id = queue_.options_.queue_id;
  request.commit_id = is_reply ? commit_id_ : 0;
  worker().loop().submit_command(*this, queue_.options_.registered_file,
                                 static_cast<std::uint32_t>(command), is_reply ? nullptr : buffers_,
                                 is_reply ? 0 : 2, std::as_bytes(std::span(&request, 1)));
}

void RingQueue::Entry::process_request() {
  commit_id_ = header_->entry.commit_id;
  fuse_in_header in{};
  std::memcpy(&in, header_->in_out, sizeof in);
  const std::size_t payload_bytes = header_->entry.payload_bytes;
  // The length of the request's own header is what remains of the whole.
  const std::size_t op_bytes = in.len - sizeof in - payload_bytes;
  assert(in.len >= sizeof in + payload_bytes && op_bytes <= fuse_abi::kOpAreaBytes);
  // libfuse wants one contiguous request: the two headers are put before the payload, which stays.
  std::byte* start = payload_.data() - op_bytes - sizeof in;
  std::memcpy(start, &in, sizeof in);
  std::memcpy(start + sizeof in, header_->op_in, op_bytes);
  queue_.session_.process(*this, {start, in.len});
}

ssize_t RingQueue::Entry::send_reply(std::span<const iovec> parts) {
  std::size_t payload_bytes = 0;
  for (const iovec& part : parts.subspan(1)) {
    if (part.iov_len > payload_.size() - payload_bytes) return send_error(parts[0], EIO);
    std::byte* destination = payload_.data() + payload_bytes;
    if (part.iov_base != destination) std::memmove(destination, part.iov_base, part.iov_len);
    payload_bytes += part.iov_len;
  }
  std::memcpy(header_->in_out, parts[0].iov_base, sizeof(fuse_out_header));
  header_->entry.payload_bytes = static_cast<std::uint32_t>(payload_bytes);
  submit(fuse_abi::RingCommand::kCommitAndFetch);
  return static_cast<ssize_t>(sizeof(fuse_out_header) + payload_bytes);
}

// Even a reply that does not fit is answered.
ssize_t RingQueue::Entry::send_error(const iovec& header_part, int errno_value) {
  fuse_out_header header{};
  std::memcpy(&header, header_part.iov_base, sizeof header);
  header.len = sizeof header;
  header.error = -errno_value;
  std::memcpy(header_->in_out, &header, sizeof header);
  header_->entry.payload_bytes = 0;
  submit(fuse_abi::RingCommand::kCommitAndFetch);
  return sizeof header;
}

std::size_t RingQueue::arena_bytes_per_entry(std::size_t payload_bytes) {
  return kPageBytes + payload_bytes;
}

Result<std::unique_ptr<RingQueue>> RingQueue::create(Worker& worker, FuseSession& session,
                                                     const Options& options,
                                                     std::span<std::byte> arena) {
  const std::size_t room_bytes = arena_bytes_per_entry(options.payload_bytes);
  assert(arena.size() >= options.depth * room_bytes);
  Result<Mapping> headers = Mapping::anonymous(options.depth * kHeaderStrideBytes, true);
  if (!headers) return std::unexpected(headers.error());
  std::unique_ptr<RingQueue> queue(new RingQueue(worker, session, options, std::move(*headers)));
  for (unsigned i = 0; i < options.depth; ++i) {
    auto* header =
        ::new (queue->headers_.data() + i * kHeaderStrideBytes) fuse_abi::RingRequestHeader{};
    queue->entries_.push_back(
        std::make_unique<Entry>(*queue, header, arena.subspan(i * room_bytes, room_bytes)));
  }
  return queue;
}

RingQueue::RingQueue(Worker& worker, FuseSession& session, const Options& options, Mapping headers)
    : worker_(worker), session_(session), options_(options), headers_(std::move(headers)) {}

RingQueue::~RingQueue() = default;

void RingQueue::start(std::function<void(Status)> on_ended) {
  on_ended_ = std::move(on_ended);
  live_entries_ = entries_.size();
  for (const std::unique_ptr<Entry>& entry : entries_) entry->register_with_kernel();
}

void RingQueue::on_entry_ended(int result) {
  assert(live_entries_ > 0);
  // -ENOTCONN, -ECONNABORTED, -ENODEV: the mount has ended; anything else is a refusal.
  const bool unmounted =
      result == -ENOTCONN || result == -ECONNABORTED || result == -ENODEV || result == -ECANCELED;
  if (!unmounted && first_error_ == 0) first_error_ = -result;
  if (--live_entries_ > 0) return;
  if (first_error_ == 0) return on_ended_({});
  on_ended_(fail_errno(
      first_error_,
      fmt::format("the kernel refused FUSE-over-io_uring for queue {}", options_.queue_id)));
}

}  // namespace rram
