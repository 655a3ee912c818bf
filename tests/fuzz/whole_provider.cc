#include "tests/fuzz/whole_provider.h"

#include <spdlog/sinks/null_sink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <utility>

#include "rdma/tcp/socket_provider_channel.h"
#include "tests/fuzz/fuzz_input.h"

namespace rram::fuzz {

namespace {

constexpr std::uint32_t kSegments = 4;
// A connection that is cut must not hold up the next input.
constexpr std::uint64_t kGraceMs = 0;
// Whoever shares memory trusts the lease for less than this.
constexpr std::uint64_t kSilentGraceMs = 300;
constexpr std::uint64_t kLingerMs = 5;
constexpr int kTurnsToSettle = 3;

std::unique_ptr<EventLoop> make_loop() {
  Result<std::unique_ptr<EventLoop>> loop = EventLoop::create(RingOptions{});
  require(loop.has_value());
  return std::move(*loop);
}

std::unique_ptr<Pool> make_pool() {
  PoolPlan plan;
  plan.segment_bytes = kMinSegmentBytes;
  plan.segment_count = kSegments;
  PoolOptions options;
  options.lock_memory = false;
  Result<std::unique_ptr<Pool>> pool = Pool::create(plan, options);
  require(pool.has_value());
  return std::move(*pool);
}

LeaseTableOptions lease_options() {
  LeaseTableOptions options;
  options.segment_count = kSegments;
  options.segment_bytes = kMinSegmentBytes;
  options.grace_ms = kGraceMs;
  options.silent_grace_ms = kSilentGraceMs;
  return options;
}

Task<> run_and_stop(EventLoop& loop, Task<> input) {
  // The loop reads its clock when it has waited.
  co_await loop.resume_here();
  co_await loop.resume_here();
  co_await input;
  loop.stop();
}

}  // namespace

Task<> settle(EventLoop& loop) {
  for (int turn = 0; turn < kTurnsToSettle; ++turn) co_await loop.resume_here();
}

WholeProvider::WholeProvider() : loop_(make_loop()), pool_(make_pool()) {
  const auto log =
      std::make_shared<spdlog::logger>("fuzz", std::make_shared<spdlog::sinks::null_sink_mt>());
  leases_ = std::make_unique<LeaseKeeper>(
      *pool_, lease_options(), log,
      [this](ConnectionId id, ConnectionOrder order) { tell(id, std::move(order)); },
      [](const LeaseId& /*lease*/) {});
  context_.name = "p";
  context_.incarnation = {1, 2, 3};
  context_.times.linger_ms = kLingerMs;
  context_.pool = pool_.get();
  context_.leases = leases_.get();
  context_.stats = [this] { return stats(); };
  context_.log = log;
}

void WholeProvider::run(Task<> input) {
  Gate gate;
  spawn(gate, run_and_stop(*loop_, std::move(input)));
  loop_->run();
}

UniqueFd WholeProvider::connect(bool is_unix) {
  std::array<int, 2> ends{};
  require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
  UniqueFd requester(ends[0]);
  Peer peer;
  peer.text = "the fuzzer";
  peer.host = "this host";
  peer.is_unix = is_unix;
  const ConnectionId id = next_id_++;
  auto connection = std::make_unique<Connection>(
      *loop_, context_, counters_, id,
      std::make_unique<SocketProviderChannel>(*loop_, UniqueFd(ends[1])), std::move(peer),
      count_lane(lanes_));
  connections_.emplace(id, connection.get());
  spawn(serving_, serve(std::move(connection), id));
  return requester;
}

Task<> WholeProvider::serve(std::unique_ptr<Connection> connection, ConnectionId id) {
  co_await connection->serve();
  connections_.erase(id);
}

// The scrubber's threads call this too.
void WholeProvider::tell(ConnectionId id, ConnectionOrder order) {
  loop_->post([this, id, order = std::move(order)] {
    const auto found = connections_.find(id);
    if (found != connections_.end()) found->second->obey(order);
  });
}

StatsReply WholeProvider::stats() const {
  const LeaseTotals totals = leases_->totals();
  StatsReply reply{};
  reply.pool_bytes = pool_->size_bytes();
  reply.leased_bytes = totals.leased_bytes;
  reply.free_bytes = totals.free_bytes;
  reply.leases = totals.leases;
  reply.connections = totals.connections;
  return reply;
}

bool WholeProvider::is_empty() const {
  return serving_.running() == 0 && leases_->totals().free_bytes == pool_->size_bytes();
}

Task<> WholeProvider::until_empty() {
  while (!is_empty()) {
    leases_->tick();
    co_await loop_->sleep_ms(1);
  }
  const LeaseTotals totals = leases_->totals();
  require(connections_.empty() && lanes_ == 0);
  require(totals.leases == 0 && totals.connections == 0 && totals.reclaiming_bytes == 0);
  require_zero_memory();
}

// What a requester has written nobody reads after it.
void WholeProvider::require_zero_memory() {
  for (std::uint32_t i = 0; i < pool_->segment_count(); ++i) {
    const std::span<const std::byte> bytes = pool_->segment(i).bytes();
    require(bytes.size() == pool_->segment_bytes() && bytes.front() == std::byte{0});
    require(std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
  }
}

}  // namespace rram::fuzz
