// One thread with one event loop and the connections that it serves.
//
// Threads: made and stopped by the server's thread; adopt() and tell() from any thread; everything
// else on the worker's own.
#pragma once

#include <atomic>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "base/event_loop.h"
#include "base/fd.h"
#include "base/gate.h"
#include "base/result.h"
#include "base/task.h"
#include "provider/connection.h"
#include "provider/context.h"

namespace rram {

class Worker {
 public:
  // A running worker. `context` outlives it. `index` is part of the identities of its connections.
  // `cpu`: where it runs; without, anywhere.
  static Result<std::unique_ptr<Worker>> start(std::uint32_t index, std::optional<unsigned> cpu,
                                               const ProviderContext& context);
  // After stop().
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // The worker whose connection this is.
  static std::uint32_t index_of(ConnectionId id) { return static_cast<std::uint32_t>(id >> 48); }

  // Serves this connection from now on. `make_channel` is called once, on the worker's thread; it
  // may own what is copied with it. Where it fails there is no connection.
  using MakeChannel = std::function<Result<std::unique_ptr<ProviderChannel>>(EventLoop&)>;
  void adopt(MakeChannel make_channel, Peer peer);
  // For what is made elsewhere and used by tasks of this worker.
  [[nodiscard]] EventLoop& loop() { return *loop_; }
  // For a connection of this worker, which may be gone.
  void tell(ConnectionId id, ConnectionOrder order);
  // Runs a coroutine on this worker; it must end by itself before, or because of, stop().
  void run_task(std::function<Task<>(EventLoop&)> make_task);
  // Ends all connections, waits until their I/O has ended, and joins the thread.
  void stop();

  [[nodiscard]] const WorkerCounters& counters() const { return counters_; }
  // Its lanes, with the connections that may still become one.
  [[nodiscard]] std::uint32_t lane_count() const {
    return lane_count_.load(std::memory_order_relaxed);
  }
  // Connections that were adopted and have not ended.
  [[nodiscard]] std::uint32_t connection_count() const {
    return connection_count_.load(std::memory_order_relaxed);
  }

 private:
  Worker(std::uint32_t index, const ProviderContext& context) : index_(index), context_(context) {}

  struct Arrival;

  void welcome(Arrival& arrival);
  Task<> serve(std::unique_ptr<Connection> connection, ConnectionId id);
  Task<> wind_down();

  const std::uint32_t index_;
  const ProviderContext& context_;
  WorkerCounters counters_;
  std::atomic<std::uint32_t> connection_count_{0};
  std::atomic<std::uint32_t> lane_count_{0};
  // Stays after the thread has ended, so that what others still post finds something.
  std::unique_ptr<EventLoop> loop_;
  boost::unordered_flat_map<ConnectionId, Connection*> connections_;
  std::uint64_t next_serial_ = 1;
  Gate tasks_;      // everything that wind_down() waits for
  Gate lifecycle_;  // wind_down() itself
  std::thread thread_;
};

}  // namespace rram
