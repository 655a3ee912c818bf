#include "fusefs/front/dev_queue.h"

#include <linux/fuse.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <utility>

#include "base/io.h"
#include "fusefs/worker.h"

namespace rram {

namespace {
constexpr std::size_t kPageBytes = 4096;
// Requests taken in one go before other completions of the loop have their turn.
constexpr unsigned kRequestsPerTurn = 32;
// A drain ends here even if requests come as fast as they are taken.
constexpr unsigned kRequestsPerDrain = 4096;
}  // namespace

// One buffer: a page for the headers, then room for a payload; the kernel writes the request from
// the start of the buffer on, a reply's payload is produced after the page.
class DevQueue::Slot final : public RequestSlot {
 public:
  Slot(DevQueue& queue, std::span<std::byte> room)
      : RequestSlot(queue.worker_), queue_(queue), room_(room) {}

  [[nodiscard]] std::span<std::byte> room() const { return room_; }
  std::span<std::byte> reply_payload() override { return room_.subspan(kPageBytes); }

  ssize_t send_reply(std::span<const iovec> parts) override {
    const ssize_t written = ::writev(queue_.fd_, parts.data(), static_cast<int>(parts.size()));
    const int saved_errno = errno;
    queue_.give_back(*this);
    errno = saved_errno;
    return written;
  }

 private:
  DevQueue& queue_;
  std::span<std::byte> room_;
};

std::size_t DevQueue::arena_bytes_per_slot(std::size_t payload_bytes) {
  return kPageBytes + payload_bytes;
}

DevQueue::DevQueue(Worker& worker, FuseSession& session, int fd, unsigned depth,
                   std::size_t payload_bytes, std::span<std::byte> arena)
    : worker_(worker), session_(session), fd_(fd) {
  const std::size_t room_bytes = arena_bytes_per_slot(payload_bytes);
  assert(arena.size() >= depth * room_bytes);
  for (unsigned i = 0; i < depth; ++i) {
    slots_.push_back(std::make_unique<Slot>(*this, arena.subspan(i * room_bytes, room_bytes)));
    free_.push_back(slots_.back().get());
  }
}

DevQueue::~DevQueue() = default;

void DevQueue::start(std::function<void(Status)> on_ended) {
  on_ended_ = std::move(on_ended);
  spawn(gate_, serve());
}

DevQueue::Taken DevQueue::take_request() {
  assert(!free_.empty());
  Slot* slot = free_.back();
  const ssize_t received = ::read(fd_, slot->room().data(), slot->room().size());
  if (received < 0) {
    // ENOENT: the request was interrupted before it was read.
    if (errno == EINTR || errno == ENOENT) return Taken::kRequest;
    return errno == EAGAIN ? Taken::kNothing : Taken::kEnded;
  }
  // What is no request comes from no kernel: whoever passed this descriptor has closed its end.
  if (static_cast<std::size_t>(received) < sizeof(fuse_in_header)) return Taken::kEnded;
  free_.pop_back();
  if (!session_.process(*slot, slot->room().first(static_cast<std::size_t>(received)))) {
    give_back(*slot);  // FORGET and INTERRUPT have no reply
  }
  return Taken::kRequest;
}

void DevQueue::drain() {
  for (unsigned taken = 0; taken < kRequestsPerDrain && !ended_ && !free_.empty(); ++taken) {
    if (take_request() != Taken::kRequest) break;
  }
}

auto DevQueue::free_slot() {
  struct Awaiter {
    DevQueue& queue;
    [[nodiscard]] bool await_ready() const noexcept { return !queue.free_.empty(); }
    void await_suspend(std::coroutine_handle<> awaiter) const noexcept {
      queue.waiting_for_slot_ = awaiter;
    }
    void await_resume() const noexcept {}
  };
  return Awaiter{*this};
}

void DevQueue::give_back(Slot& slot) {
  free_.push_back(&slot);
  if (!waiting_for_slot_) return;
  // Not resumed here: the caller is in the middle of a reply.
  worker_.loop().post([handle = std::exchange(waiting_for_slot_, nullptr)] { handle.resume(); });
}

Task<> DevQueue::serve() {
  while (!ended_) {
    unsigned taken_count = 0;
    Taken taken = Taken::kRequest;
    while (taken == Taken::kRequest && taken_count < kRequestsPerTurn && !free_.empty()) {
      taken = take_request();
      ++taken_count;
    }
    if (taken == Taken::kEnded) {
      ended_ = true;
    } else if (taken == Taken::kNothing) {
      // Of several workers that poll, one is woken for one request.
      [[maybe_unused]] const int events =
          co_await poll_once(worker_.loop(), fd_, POLLIN | EPOLLEXCLUSIVE);
    } else if (free_.empty()) {
      co_await free_slot();
    } else {
      co_await worker_.loop().resume_here();
    }
  }
  while (free_.size() < slots_.size()) co_await worker_.loop().sleep_ms(1);
  on_ended_({});
}

}  // namespace rram
