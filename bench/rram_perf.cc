// rram-perf ENDPOINT [options]: one transport alone, without a file system: latency and bandwidth
// of reads and writes per size and depth. Each worker has its thread, its loop and one lane.
//
//   rram-perf tcp://127.0.0.1:7470 --sizes 4K,1M --depths 1,32 --workers 1 --seconds 2
//   rram-perf local:1G             the memcpy ceiling
//   rram-perf null:1G              the ceiling of everything above memcpy
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/event_loop.h"
#include "base/gate.h"
#include "base/mapping.h"
#include "base/size_text.h"
#include "base/task.h"
#include "rdma/connector.h"

namespace rram {

namespace {

using Kind = Operation::Kind;
constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
constexpr std::uint64_t kTimeoutMs = 10'000;

struct Settings {
  std::string endpoint;
  std::string key_file;
  bool tls = false;
  std::vector<std::string> sizes = {"4K", "64K", "1M"};
  std::vector<unsigned> depths = {1, 32};
  unsigned workers = 1;
  double seconds = 1;
  unsigned poll_us = 0;
  std::uint64_t span_bytes = std::uint64_t{256} << 20;
};

struct Run {
  Kind kind = Kind::kRead;
  std::size_t size_bytes = 0;
  unsigned depth = 1;
};

// What one worker measured.
struct Measured {
  std::uint64_t operations = 0;
  std::uint64_t elapsed_ns = 0;
  std::vector<std::uint32_t> latencies_ns;
};

// One worker: a lane, `depth` coroutines that each have one Operation in flight.
class Worker {
 public:
  // `number`: of the worker, from 1.
  Worker(EventLoop& loop, HeldLease& lease, const Run& run, const Settings& settings,
         unsigned number)
      : loop_(loop),
        lease_(lease),
        run_(run),
        settings_(settings),
        lane_number_(number),
        random_(number) {}

  Task<Status> measure() {
    Result<std::unique_ptr<Lane>> lane =
        co_await lease_.open_lane(loop_, lane_number_, {kTimeoutMs});
    if (!lane) co_return std::unexpected(lane.error());
    lane_ = std::move(*lane);
    Result<Mapping> arena = Mapping::anonymous(run_.size_bytes * run_.depth, true);
    if (!arena) co_return std::unexpected(arena.error());
    arena_ = std::move(*arena);
    if (const Status status = lane_->announce_arena(arena_.bytes()); !status) co_return status;
    measured_.latencies_ns.reserve(std::size_t{1} << 20);
    const std::uint64_t begin_ns = monotonic_ns();
    end_ns_ = begin_ns + static_cast<std::uint64_t>(settings_.seconds * kNsPerSecond);
    Gate gate;
    for (unsigned i = 0; i < run_.depth; ++i) spawn(gate, repeat(i));
    co_await gate.close();
    measured_.elapsed_ns = monotonic_ns() - begin_ns;
    Status status;
    if (lane_->is_broken()) status = std::unexpected(lane_->reason());
    co_await lane_->close();
    lane_.reset();
    co_return status;
  }

  Measured& measured() { return measured_; }

 private:
  Task<> repeat(unsigned slot) {
    const std::span<std::byte> buffer =
        arena_.bytes().subspan(slot * run_.size_bytes, run_.size_bytes);
    for (;;) {
      const std::uint64_t begin_ns = monotonic_ns();
      if (begin_ns >= end_ns_) co_return;
      Operation operation;
      operation.kind = run_.kind;
      choose_place(operation);
      operation.local = buffer;
      operation.deadline_ns = loop_.now_ns() + 5 * kNsPerSecond;
      OperationGroup group;
      group.add(operation);
      lane_->submit(operation);
      const std::optional<ErrorCode> failure = co_await group;
      if (failure) co_return;
      ++measured_.operations;
      if (measured_.latencies_ns.size() < measured_.latencies_ns.capacity()) {
        measured_.latencies_ns.push_back(static_cast<std::uint32_t>(monotonic_ns() - begin_ns));
      }
    }
  }

  void choose_place(Operation& operation) {
    const auto& regions = lease_.regions();
    const std::uint64_t region_bytes = regions.front().length_bytes;
    const std::uint64_t span_bytes = std::min(settings_.span_bytes, lease_.size_bytes());
    const std::uint64_t slots_per_region = region_bytes / run_.size_bytes;
    const std::uint64_t region_count = std::max<std::uint64_t>(1, span_bytes / region_bytes);
    const std::uint64_t slot = random_() % (slots_per_region * region_count);
    operation.region = &regions[slot / slots_per_region];
    operation.offset_bytes = slot % slots_per_region * run_.size_bytes;
  }

  EventLoop& loop_;
  HeldLease& lease_;
  const Run run_;
  const Settings& settings_;
  const unsigned lane_number_;
  std::minstd_rand random_;
  std::unique_ptr<Lane> lane_;
  Mapping arena_;
  std::uint64_t end_ns_ = 0;
  Measured measured_;
};

Task<> store_and_stop(EventLoop& loop, Task<Status> task, Status& out) {
  co_await loop.resume_here();
  Status status = co_await task;
  out = std::move(status);
  loop.stop();
}

// Runs `task` to its end on `loop`.
Status run_to_end(EventLoop& loop, Task<Status> task) {
  Gate gate;
  Status status;
  spawn(gate, store_and_stop(loop, std::move(task), status));
  loop.run();
  return status;
}

void run_worker(HeldLease& lease, const Run& run, const Settings& settings, unsigned number,
                Measured& measured, Status& status) {
  Result<std::unique_ptr<EventLoop>> loop = EventLoop::create({});
  if (!loop) {
    status = std::unexpected(loop.error());
    return;
  }
  (*loop)->set_spin_limit(std::uint64_t{settings.poll_us} * 1000);
  Worker worker(**loop, lease, run, settings, number);
  status = run_to_end(**loop, worker.measure());
  measured = std::move(worker.measured());
}

void print(const Run& run, const Settings& settings, std::vector<Measured>& all) {
  std::vector<std::uint32_t> latencies_ns;
  double per_second = 0;
  for (Measured& each : all) {
    per_second += static_cast<double>(each.operations) * 1e9 / static_cast<double>(each.elapsed_ns);
    latencies_ns.insert(latencies_ns.end(), each.latencies_ns.begin(), each.latencies_ns.end());
  }
  std::ranges::sort(latencies_ns);
  const auto at = [&](double part) {
    if (latencies_ns.empty()) return 0.0;
    const auto last = static_cast<double>(latencies_ns.size() - 1);
    return latencies_ns[static_cast<std::size_t>(part * last)] / 1000.0;
  };
  fmt::print(
      "{:5} {:>9} depth {:3} x {} : {:10.0f} op/s {:9.1f} MiB/s  p50 {:8.1f} us  p99 {:8.1f} us\n",
      run.kind == Kind::kRead ? "read" : "write", size_text(run.size_bytes), run.depth,
      settings.workers, per_second, per_second * static_cast<double>(run.size_bytes) / 1048576.0,
      at(0.5), at(0.99));
  std::fflush(stdout);
}

Status measure_run(EventLoop& loop, HeldLease& lease, const Run& run, const Settings& settings) {
  std::vector<Measured> measured(settings.workers);
  std::vector<Status> statuses(settings.workers);
  std::vector<std::thread> threads;
  std::atomic<unsigned> running{settings.workers};
  for (unsigned i = 0; i < settings.workers; ++i) {
    threads.emplace_back([&, i] {
      run_worker(lease, run, settings, i + 1, measured[i], statuses[i]);
      if (--running == 0) loop.post([&loop] { loop.stop(); });
    });
  }
  loop.run();  // the lease's heartbeats
  for (std::thread& thread : threads) thread.join();
  for (const Status& status : statuses) {
    if (!status) return status;
  }
  print(run, settings, measured);
  return {};
}

// Writes everything once, so that no page is touched for the first time while it is measured.
Task<Status> touch_all(EventLoop& loop, HeldLease& lease, std::uint64_t span_bytes) {
  Result<std::unique_ptr<Lane>> lane = co_await lease.open_lane(loop, 1, {kTimeoutMs});
  if (!lane) co_return std::unexpected(lane.error());
  const Result<Mapping> memory = Mapping::anonymous(std::size_t{1} << 20, true);
  if (!memory) co_return std::unexpected(memory.error());
  const std::span<std::byte> buffer = memory->bytes();
  Status status = (*lane)->announce_arena(buffer);
  std::uint64_t done_bytes = 0;
  for (const RemoteRegion& region : lease.regions()) {
    for (std::uint64_t at = 0; at < region.length_bytes && status; at += buffer.size()) {
      if (done_bytes >= span_bytes) break;
      done_bytes += buffer.size();
      Operation operation;
      operation.kind = Kind::kWrite;
      operation.region = &region;
      operation.offset_bytes = at;
      operation.local = buffer;
      operation.deadline_ns = monotonic_ns() + 10 * kNsPerSecond;
      OperationGroup group;
      group.add(operation);
      (*lane)->submit(operation);
      const std::optional<ErrorCode> failure = co_await group;
      if (failure) status = fail(*failure, "cannot write to the lease");
    }
  }
  co_await (*lane)->close();
  co_return status;
}

Task<Status> connect(EventLoop& loop, Endpoint endpoint, LeaseOptions options,
                     ConnectedLease& out) {
  Result<ConnectedLease> connected = co_await connect_lease(loop, endpoint, options);
  if (!connected) co_return std::unexpected(connected.error());
  out = std::move(*connected);
  co_return Status{};
}

Task<Status> release(HeldLease& lease) {
  co_await lease.release(kTimeoutMs);
  co_return Status{};
}

Status measure_all(const Settings& settings) {
  const Result<Endpoint> endpoint = parse_endpoint(settings.endpoint);
  if (!endpoint) return std::unexpected(endpoint.error());
  LeaseOptions options;
  options.requester_name = "rram-perf";
  if (!settings.key_file.empty()) {
    Result<PresharedKey> key = load_key_file(settings.key_file);
    if (!key) return std::unexpected(key.error());
    options.key = *key;
  }
  options.tls = settings.tls;
  options.wanted_bytes = endpoint->size_bytes == 0
                             ? settings.span_bytes
                             : std::min(settings.span_bytes, endpoint->size_bytes);
  Result<std::unique_ptr<EventLoop>> loop = EventLoop::create({});
  if (!loop) return std::unexpected(loop.error());
  ConnectedLease connected;
  Status status = run_to_end(**loop, connect(**loop, *endpoint, options, connected));
  if (!status) return status;
  HeldLease& lease = *connected.lease;
  fmt::print("{} by {}, {}\n", lease.provider_text(), lease.transport_name(),
             size_text(lease.size_bytes()));
  status = run_to_end(**loop, touch_all(**loop, lease, settings.span_bytes));
  for (const Kind kind : {Kind::kRead, Kind::kWrite}) {
    for (const std::string& size : settings.sizes) {
      const Result<std::uint64_t> size_bytes = parse_size_bytes(size);
      if (!size_bytes) status = std::unexpected(size_bytes.error());
      for (const unsigned depth : settings.depths) {
        if (status) status = measure_run(**loop, lease, {kind, *size_bytes, depth}, settings);
      }
    }
  }
  const Status released = run_to_end(**loop, release(lease));
  return status ? released : status;
}

}  // namespace

}  // namespace rram

int main(int argc, char** argv) {
  rram::Settings settings;
  CLI::App app("measures one transport alone");
  std::string span = "256M";
  app.add_option("endpoint", settings.endpoint, "provider address")->required();
  app.add_option("--key-file", settings.key_file, "the provider's key");
  app.add_flag("--tls", settings.tls, "in records; needs --key-file");
  app.add_option("--sizes", settings.sizes, "bytes of one operation")->delimiter(',');
  app.add_option("--depths", settings.depths, "operations in flight of one worker")->delimiter(',');
  app.add_option("--workers", settings.workers, "threads, each with a lane");
  app.add_option("--seconds", settings.seconds, "for each line");
  app.add_option("--poll", settings.poll_us,
                 "microseconds to look for completions before sleeping");
  app.add_option("--span", span, "memory that is used");
  CLI11_PARSE(app, argc, argv);
  const rram::Result<std::uint64_t> span_bytes = rram::parse_size_bytes(span);
  if (span_bytes) settings.span_bytes = *span_bytes;
  const rram::Status status =
      span_bytes ? rram::measure_all(settings) : rram::Status(std::unexpected(span_bytes.error()));
  if (!status) fmt::print(stderr, "rram-perf: {}\n", status.error().message);
  return status ? 0 : 1;
}
