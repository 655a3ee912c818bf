// The front end of a mount: the queues through which the kernel's requests come, spread over the
// workers. FUSE-over-io_uring where the kernel offers it, else /dev/fuse through the same rings.
//
// Owned by main. Construction and start() are for the main thread; the queues live on their
// workers.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "fusefs/file_io.h"
#include "fusefs/front/dev_queue.h"
#include "fusefs/front/page_flusher.h"
#include "fusefs/front/ring_queue.h"
#include "fusefs/front/session.h"
#include "fusefs/worker.h"

namespace rram {

// How many queues and buffers each worker has; known before the workers start.
struct FrontEndPlan {
  unsigned workers = 0;
  unsigned ring_queues = 0;  // one for each possible CPU
  unsigned entries_per_queue = 0;
  bool wants_io_uring = false;

  // `possible_cpus`: queues that the kernel has.
  static FrontEndPlan make(unsigned workers, unsigned possible_cpus, bool wants_io_uring);

  [[nodiscard]] unsigned queues_of(unsigned worker) const;
  [[nodiscard]] std::size_t arena_bytes(unsigned worker) const;
};

// The CPUs that the kernel may ever have on this host; FUSE-over-io_uring has a queue for each.
unsigned possible_cpu_count();
// Whether this host's kernel has FUSE-over-io_uring and it is switched on; the message says what to
// do otherwise.
Status io_uring_is_available();

class FrontEnd final : public KernelCaches {
 public:
  FrontEnd(const FrontEndPlan& plan, std::vector<std::unique_ptr<Worker>>& workers);
  ~FrontEnd();

  // Makes the queues that INIT promises to the kernel; before FuseSession::handshake().
  Status prepare(FuseSession& session);
  // Begins to serve; after handshake(). `on_ended` is called once, on some worker, when every queue
  // has ended, with the first error if one was refused.
  Status start(std::function<void(Status)> on_ended);
  // Ends the queues; each on its worker's thread. After on_ended.
  void destroy_queues();

  Task<> drain_forgets(Worker& worker) override;
  Task<bool> write_back(Worker& worker, Ino ino, std::uint64_t offset,
                        std::uint64_t length) override;

 private:
  struct PerWorker {
    std::vector<std::unique_ptr<RingQueue>> rings;
    std::unique_ptr<DevQueue> dev;
    UniqueFd dev_clone;  // of workers other than the first, without io_uring
  };

  Status prepare_worker(Worker& worker);
  Status start_worker(Worker& worker);
  void on_queue_ended(const Status& status);

  const FrontEndPlan plan_;
  std::vector<std::unique_ptr<Worker>>& workers_;
  FuseSession* session_ = nullptr;
  std::vector<PerWorker> queues_;  // by worker
  std::unique_ptr<PageFlusher> page_flusher_;
  std::atomic<unsigned> live_queues_ = 0;
  std::atomic<unsigned> flushes_ = 0;  // requests that wait for the page flusher
  std::mutex status_mutex_;            // leaf; guards first_failure_
  Status first_failure_;
  std::function<void(Status)> on_ended_;
};

}  // namespace rram
