#include "fusefs/front/front_end.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <functional>

namespace rram {

namespace {

// Payload buffers of all queues together: more requests under way than this holds wait in the
// kernel.
constexpr std::size_t kPayloadBudgetBytes = std::size_t{256} << 20;
constexpr unsigned kMinEntriesPerQueue = 2;
constexpr unsigned kMaxEntriesPerQueue = 32;
// Beside io_uring, /dev/fuse carries what has no reply, and little else.
constexpr unsigned kControlSlots = 2;
constexpr const char* kEnableUringPath = "/sys/module/fuse/parameters/enable_uring";

template <typename Function>
auto run_on(Worker& worker, Function function) -> decltype(function()) {
  std::promise<decltype(function())> promise;
  worker.loop().post([&] { promise.set_value(function()); });
  return promise.get_future().get();
}

}  // namespace

unsigned possible_cpu_count() {
  return static_cast<unsigned>(std::max(1L, ::sysconf(_SC_NPROCESSORS_CONF)));
}

Status io_uring_is_available() {
  std::ifstream parameter(kEnableUringPath);
  char value = 'N';
  if (!(parameter >> value)) {
    return fail(ErrorCode::kUnavailable,
                "this kernel has no FUSE-over-io_uring (it needs Linux 6.14 or newer)");
  }
  if (value != 'Y' && value != '1') {
    return fail(ErrorCode::kUnavailable,
                fmt::format("FUSE-over-io_uring is switched off on this host: as root, "
                            "echo Y > {}",
                            kEnableUringPath));
  }
  return {};
}

FrontEndPlan FrontEndPlan::make(unsigned workers, unsigned possible_cpus, bool wants_io_uring) {
  const std::size_t fitting =
      kPayloadBudgetBytes / RingQueue::arena_bytes_per_entry(kMaxPayloadBytes) / possible_cpus;
  const auto entries = static_cast<unsigned>(
      std::clamp<std::size_t>(fitting, kMinEntriesPerQueue, kMaxEntriesPerQueue));
  return {workers, possible_cpus, entries, wants_io_uring};
}

unsigned FrontEndPlan::queues_of(unsigned worker) const {
  return ring_queues / workers + (worker < ring_queues % workers ? 1 : 0);
}

std::size_t FrontEndPlan::arena_bytes(unsigned worker) const {
  static_assert(kMaxPayloadBytes % 4096 == 0);
  const std::size_t rings = std::size_t{std::max(1U, queues_of(worker))} * entries_per_queue *
                            RingQueue::arena_bytes_per_entry(kMaxPayloadBytes);
  return rings + kControlSlots * DevQueue::arena_bytes_per_slot(kMaxPayloadBytes);
}

FrontEnd::FrontEnd(const FrontEndPlan& plan, std::vector<std::unique_ptr<Worker>>& workers)
    : plan_(plan), workers_(workers), queues_(workers.size()) {}

FrontEnd::~FrontEnd() = default;

Status FrontEnd::prepare(FuseSession& session) {
  session_ = &session;
  // Whatever can fail is done before the kernel is told that anybody serves.
  for (std::size_t i = 1; i < workers_.size(); ++i) {
    Result<UniqueFd> clone = session.clone_fd();
    if (!clone) return std::unexpected(clone.error());
    queues_[i].dev_clone = std::move(*clone);
  }
  if (!plan_.wants_io_uring) return {};
  for (const std::unique_ptr<Worker>& worker : workers_) {
    Status status = run_on(*worker, [&] { return prepare_worker(*worker); });
    if (!status) return status;
  }
  return {};
}

Status FrontEnd::prepare_worker(Worker& worker) {
  const int fd = session_->fd();
  if (Status status = worker.loop().register_files({&fd, 1}); !status) return status;
  const std::size_t queue_bytes =
      plan_.entries_per_queue * RingQueue::arena_bytes_per_entry(kMaxPayloadBytes);
  std::span<std::byte> room = worker.front_arena();
  for (unsigned queue = worker.index(); queue < plan_.ring_queues; queue += plan_.workers) {
    Result<std::unique_ptr<RingQueue>> ring =
        RingQueue::create(worker, *session_,
                          {.queue_id = static_cast<std::uint16_t>(queue),
                           .depth = plan_.entries_per_queue,
                           .payload_bytes = kMaxPayloadBytes,
                           .registered_file = 0},
                          room.first(queue_bytes));
    if (!ring) return std::unexpected(ring.error());
    room = room.subspan(queue_bytes);
    queues_[worker.index()].rings.push_back(std::move(*ring));
  }
  return {};
}

Status FrontEnd::start(std::function<void(Status)> on_ended) {
  on_ended_ = std::move(on_ended);
  page_flusher_ = std::make_unique<PageFlusher>(*session_);
  const bool rings = session_->uses_io_uring();
  live_queues_ = rings ? plan_.ring_queues + 1 : static_cast<unsigned>(workers_.size());
  for (const std::unique_ptr<Worker>& worker : workers_) {
    Status status = run_on(*worker, [&] { return start_worker(*worker); });
    if (!status) return status;
  }
  return {};
}

Status FrontEnd::start_worker(Worker& worker) {
  PerWorker& own = queues_[worker.index()];
  const auto ended = [this](const Status& status) { on_queue_ended(status); };
  const std::size_t slot_bytes = DevQueue::arena_bytes_per_slot(kMaxPayloadBytes);
  const std::span<std::byte> arena = worker.front_arena();
  if (session_->uses_io_uring()) {
    for (const std::unique_ptr<RingQueue>& ring : own.rings) ring->start(ended);
    if (worker.index() != 0) return {};
    own.dev = std::make_unique<DevQueue>(worker, *session_, session_->fd(), kControlSlots,
                                         kMaxPayloadBytes, arena.last(kControlSlots * slot_bytes));
  } else {
    own.rings.clear();
    const int fd = worker.index() == 0 ? session_->fd() : own.dev_clone.get();
    const auto depth = static_cast<unsigned>(
        std::min<std::size_t>(arena.size() / slot_bytes, kMaxEntriesPerQueue));
    own.dev = std::make_unique<DevQueue>(worker, *session_, fd, depth, kMaxPayloadBytes, arena);
  }
  own.dev->start(ended);
  return {};
}

void FrontEnd::on_queue_ended(const Status& status) {
  if (!status) {
    {
      const std::lock_guard lock(status_mutex_);
      if (first_failure_) first_failure_ = status;
    }
    // The kernel waits for this queue for ever: end the mount, so that the others end too.
    session_->abort();
  }
  if (--live_queues_ == 0) on_ended_(first_failure_);
}

void FrontEnd::destroy_queues() {
  page_flusher_.reset();
  for (const std::unique_ptr<Worker>& worker : workers_) {
    run_on(*worker, [&] {
      queues_[worker->index()] = PerWorker{};
      worker->loop().unregister_files();
      return true;
    });
  }
}

// With io_uring only the first worker reads /dev/fuse; without, every worker does.
Task<> FrontEnd::drain_forgets(Worker& worker) {
  Worker& reader = session_->uses_io_uring() ? *workers_.front() : worker;
  co_await reader.loop().resume_here();
  if (DevQueue* queue = queues_[reader.index()].dev.get()) queue->drain();
  if (&reader != &worker) co_await worker.loop().resume_here();
}

// Whoever waits for the kernel to write keeps an entry of a queue, and the writes need one, perhaps
// of the same queue: were all taken by those who wait, nobody would ever go on.
Task<bool> FrontEnd::write_back(Worker& worker, Ino ino, std::uint64_t offset,
                                std::uint64_t length) {
  const bool has_room = flushes_.fetch_add(1) < plan_.entries_per_queue - 1;
  if (has_room) {
    co_await PageFlusher::Flush(*page_flusher_, worker.loop(), ino, offset, length);
  }
  flushes_.fetch_sub(1);
  co_return has_room;
}

}  // namespace rram
