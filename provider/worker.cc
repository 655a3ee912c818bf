#include "provider/worker.h"

#include <cassert>
#include <future>
#include <utility>

#include "base/cpus.h"

namespace rram {

namespace {
constexpr unsigned kIndexShift = 48;

Task<> run_then_drop(std::function<Task<>(EventLoop&)> make_task, EventLoop& loop) {
  Task<> task = make_task(loop);
  co_await task;
}
}  // namespace

// std::function copies what it holds.
struct Worker::Arrival {
  MakeChannel make_channel;
  Peer peer;
  CountedLane lane;
};

Result<std::unique_ptr<Worker>> Worker::start(std::uint32_t index, std::optional<unsigned> cpu,
                                              const ProviderContext& context) {
  std::unique_ptr<Worker> worker(new Worker(index, context));
  // The ring belongs to the thread that makes it.
  std::promise<Status> started;
  std::future<Status> outcome = started.get_future();
  worker->thread_ = std::thread([&worker = *worker, cpu, started = std::move(started)]() mutable {
    if (cpu) {
      const Status pinned = pin_this_thread(*cpu);
      if (!pinned) worker.context_.log->debug("{}", pinned.error().message);
    }
    Result<std::unique_ptr<EventLoop>> loop = EventLoop::create(RingOptions{});
    if (!loop) return started.set_value(std::unexpected(loop.error()));
    worker.loop_ = std::move(*loop);
    started.set_value({});
    worker.loop_->run();
  });
  const Status status = outcome.get();
  if (status) return worker;
  worker->thread_.join();
  return std::unexpected(status.error());
}

Worker::~Worker() { assert(!thread_.joinable()); }

void Worker::adopt(MakeChannel make_channel, Peer peer) {
  connection_count_.fetch_add(1, std::memory_order_relaxed);
  auto arrival =
      std::make_shared<Arrival>(std::move(make_channel), std::move(peer), count_lane(lane_count_));
  loop_->post([this, arrival] { welcome(*arrival); });
}

void Worker::welcome(Arrival& arrival) {
  if (tasks_.is_closed()) {
    connection_count_.fetch_sub(1, std::memory_order_relaxed);
    return;
  }
  Result<std::unique_ptr<ProviderChannel>> channel = arrival.make_channel(*loop_);
  if (!channel) {
    context_.log->info("{}: {}", arrival.peer.text, channel.error().message);
    connection_count_.fetch_sub(1, std::memory_order_relaxed);
    return;
  }
  const ConnectionId id = std::uint64_t{index_} << kIndexShift | next_serial_++;
  auto connection =
      std::make_unique<Connection>(*loop_, context_, counters_, id, std::move(*channel),
                                   std::move(arrival.peer), std::move(arrival.lane));
  connections_.emplace(id, connection.get());
  spawn(tasks_, serve(std::move(connection), id));
}

Task<> Worker::serve(std::unique_ptr<Connection> connection, ConnectionId id) {
  co_await connection->serve();
  connections_.erase(id);
  connection.reset();
  connection_count_.fetch_sub(1, std::memory_order_relaxed);
}

void Worker::tell(ConnectionId id, ConnectionOrder order) {
  loop_->post([this, id, order = std::move(order)] {
    const auto found = connections_.find(id);
    if (found != connections_.end()) found->second->obey(order);
  });
}

void Worker::run_task(std::function<Task<>(EventLoop&)> make_task) {
  loop_->post([this, make_task = std::move(make_task)] {
    if (!tasks_.is_closed()) spawn(tasks_, run_then_drop(make_task, *loop_));
  });
}

void Worker::stop() {
  if (!thread_.joinable()) return;
  loop_->post([this] { spawn(lifecycle_, wind_down()); });
  thread_.join();
}

Task<> Worker::wind_down() {
  const ConnectionOrder order{ConnectionOrder::Kind::kEnd, WireError::kShuttingDown,
                              "the provider is being stopped"};
  // None of them ends inside obey(): its socket operations complete first.
  for (const auto& [id, connection] : connections_) connection->obey(order);
  co_await tasks_.close();
  loop_->stop();
}

}  // namespace rram
