#include "fusefs/worker.h"

#include <fmt/format.h>
#include <pthread.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "base/cpus.h"

namespace rram {

namespace {
// Blocks on the move at once, per worker; each needs one buffer of a stripe unit.
constexpr std::size_t kScratchBuffers = 4;
// Entries of the ring: submissions of one turn (more are handed over early), and completions: every
// ring entry, send, receive and poll that can be under way.
constexpr unsigned kSubmissionEntries = 256;
constexpr unsigned kCompletionEntries = 8192;

void name_thread(unsigned index, bool pins_to_cpu) {
  ::pthread_setname_np(::pthread_self(), fmt::format("rramfs/{}", index).c_str());
  if (!pins_to_cpu) return;
  // A CPU that is offline or not ours: the worker runs anywhere.
  const Status pinned = pin_this_thread(index);
  if (!pinned) spdlog::debug("worker {}: {}", index, pinned.error().message);
}
}  // namespace

Result<std::unique_ptr<Worker>> Worker::start(const WorkerOptions& options) {
  std::unique_ptr<Worker> worker(new Worker(options));
  std::promise<Status> started;
  std::future<Status> outcome = started.get_future();
  worker->thread_ = std::thread(&Worker::thread_main, worker.get(), std::move(started));
  if (Status status = outcome.get(); !status) return std::unexpected(status.error());
  return worker;
}

Worker::~Worker() {
  if (loop_) loop_->post([this] { loop_->stop(); });
  if (thread_.joinable()) thread_.join();
}

Status Worker::set_up() {
  Result<std::unique_ptr<EventLoop>> loop =
      EventLoop::create({.submission_entries = kSubmissionEntries,
                         .completion_entries = kCompletionEntries,
                         .large_submission_entries = true});
  if (!loop) return std::unexpected(loop.error());
  loop_ = std::move(*loop);
  loop_->set_spin_limit(options_.spin_limit_ns);
  const std::size_t scratch_bytes = kScratchBuffers * options_.stripe_unit_bytes;
  Result<Mapping> arena = Mapping::anonymous(
      options_.front_arena_bytes + scratch_bytes + options_.granule_bytes, /*prefault=*/true);
  if (!arena) return std::unexpected(arena.error());
  arena_ = std::move(*arena);
  front_arena_ = arena_.bytes().first(options_.front_arena_bytes);
  scratch_.add_room(arena_.bytes().subspan(options_.front_arena_bytes, scratch_bytes),
                    options_.stripe_unit_bytes);
  zeros_ =
      arena_.bytes().subspan(options_.front_arena_bytes + scratch_bytes, options_.granule_bytes);
  return {};
}

void Worker::thread_main(std::promise<Status> started) {
  name_thread(options_.index, options_.pins_to_cpu);
  Status status = set_up();
  const bool is_ready = status.has_value();
  started.set_value(std::move(status));
  if (is_ready) loop_->run();
}

}  // namespace rram
