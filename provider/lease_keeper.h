// The lease table with a lock, chance, a clock and hands: what sessions on all workers ask for a
// lease, and what ends connections and scrubs memory when a lease is over.
//
// Threads: every member from any thread. One mutex, a leaf: under it only the table computes;
// connections are told, leases are queued for the scrubber and lines are logged after it is
// dropped. None of them waits for a device or for memory to be zeroed.
#pragma once

#include <spdlog/logger.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "provider/lease_table.h"
#include "provider/pool.h"
#include "provider/scrubber.h"
#include "rdma/session/lease_terms.h"

namespace rram {

// What a connection is told when a lease changes under it.
struct ConnectionOrder {
  enum class Kind : std::uint8_t {
    kEnd,       // end with ERROR `code` and `text`
    kReleased,  // the lease it asked to release is fenced
  };
  Kind kind = Kind::kEnd;
  WireError code = WireError::kLeaseOver;
  std::string text;
};

// A lease as a connection sees it.
struct HeldLeaseView {
  LeaseTerms terms;
  std::vector<std::uint32_t> segments;  // of the pool, in the order of the regions
};

// What a connection asks for that wants to join a lease.
struct LeaseJoin {
  Role role = Role::kData;
  LeaseId id{};
  LeaseToken token{};
  std::uint64_t lane = 0;
  ConnectionId connection = 0;
  std::string peer;
};

class LeaseKeeper {
 public:
  // With no lock held, on the threads of callers and of the scrubber: `tell` is called for
  // connections that may have ended meanwhile. On a scrubber thread: `on_fenced`, when the last
  // connection of a lease that is over has gone, before its memory is zeroed; it may take long.
  // `pool`, and all that the two touch, outlive this object. Leases that the scrubber has not come
  // to when this object ends never get their on_fenced(): all their connections have gone, and who
  // registered their memory must let go of it with itself.
  LeaseKeeper(Pool& pool, LeaseTableOptions options, const std::shared_ptr<spdlog::logger>& log,
              std::function<void(ConnectionId, ConnectionOrder)> tell,
              std::function<void(const LeaseId&)> on_fenced);

  // See LeaseTable. From the filler.
  void pinned(std::uint32_t segment);
  PinningEnd end_pinning();

  using Answer = std::variant<HeldLeaseView, LeaseMustWait, Error>;
  // See LeaseTable; wish.id and wish.token are chosen here.
  Answer grant(LeaseWish wish);
  Result<HeldLeaseView> attach(const LeaseJoin& join);
  // See LeaseTable: those that a data connection has replaced can touch nothing any more.
  [[nodiscard]] bool is_alone_in_lane(const LeaseId& id, ConnectionId connection) const;
  void detach(const LeaseId& id, ConnectionId connection, Departure departure);
  // The connection will be told kReleased. False: it does not hold that lease (any more).
  bool release(const LeaseId& id, ConnectionId control);
  // To be called several times a second.
  void tick();

  [[nodiscard]] LeaseTotals totals() const;
  [[nodiscard]] std::vector<std::string> requesters() const;

 private:
  [[nodiscard]] LeaseTerms terms_of(const LeaseId& id, const LeaseToken& token,
                                    std::size_t segment_count) const;
  void on_scrubbed(std::uint32_t segment);
  void announce(const std::vector<EndedLease>& ended, std::string_view why);
  void revoke(const FencedLease& lease);

  Pool& pool_;
  const LeaseTableOptions options_;
  const std::shared_ptr<spdlog::logger> log_;
  const std::function<void(ConnectionId, ConnectionOrder)> tell_;
  const std::function<void(const LeaseId&)> on_fenced_;
  mutable std::mutex mutex_;  // guards table_
  LeaseTable table_;
  Scrubber scrubber_;  // the last member: its threads use the others
};

}  // namespace rram
