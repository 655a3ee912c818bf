// Who holds which segments, from when to when. Pure: time, identities and tokens are passed in, and
// what has to be done (end a connection, zero a segment) is told to the caller, who does it.
//
//   unpinned -> free -> leased -> reclaiming (its connections end, then its memory is zeroed) ->
//   free
//      `------> lost (its memory could not be pinned)
//
// A lease is `held` while it has a control connection, in `grace` after it lost it, and over after
// that. Its memory is given out for scrubbing only when every connection of it has been detached:
// then nothing that this process does can touch the memory any more.
//
// Threads: none of its own; whoever owns it serialises the calls.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "rdma/wire/frames.h"

namespace rram {

// Names one connection of this provider for as long as the provider runs.
using ConnectionId = std::uint64_t;

struct LeaseTableOptions {
  std::uint32_t segment_count = 0;
  std::uint64_t segment_bytes = 0;
  // The segments become free one by one, by pinned(); else all of them are free at once.
  bool starts_unpinned = false;
  // After its connections were closed: a requester that is gone, or comes back at once.
  std::uint64_t grace_ms = 2'000;
  // After it went silent: the network may heal.
  std::uint64_t silent_grace_ms = 30'000;
  std::size_t max_leases = 1'024;
  // So that one host, gone wild, leaves something for the others.
  std::size_t max_leases_per_host = 64;
  std::size_t max_connections_per_lease = 1'024;
};

struct LeaseWish {
  LeaseId id{};
  LeaseToken token{};
  ConnectionId control = 0;
  std::string requester;
  std::string host;                // where it is: what the limit for one host is about
  std::uint64_t wanted_bytes = 0;  // 0: all that is free
  bool pass_descriptors = false;
};

// What a connection may touch.
struct LeaseView {
  std::vector<std::uint32_t> segments;   // in the order of the lease's regions
  std::optional<ConnectionId> replaced;  // the connection whose place this one takes: to be ended
};

struct LeaseMustWait {
  std::uint64_t reclaiming_bytes = 0;  // and those that are still being pinned
  std::uint32_t retry_ms = 0;
};

using LeaseAnswer = std::variant<LeaseView, LeaseMustWait, Error>;

enum class Departure : std::uint8_t {
  kClosed,  // the peer closed it, or it broke a rule
  kSilent,  // nothing came for too long
};

// What became of a pool of which not all could be pinned.
struct PinningEnd {
  // False: nothing was ever lent, and nothing will be.
  bool goes_on = false;
  std::vector<std::uint32_t> lost;  // the segments that are no part of the pool any more
};

// A lease that is over.
struct EndedLease {
  LeaseId id;
  std::string requester;
  std::uint64_t size_bytes = 0;
  std::vector<ConnectionId> connections;  // to be ended, then detached
};

// The memory of a lease that is over and that no connection can touch any more: take it from the
// devices, zero it, then tell scrubbed() for each segment.
struct FencedLease {
  LeaseId id;
  std::vector<std::uint32_t> segments;
  bool descriptors_passed = false;
  std::optional<ConnectionId> releasing;  // the control connection that waits for this
};

struct LeaseTotals {
  std::uint64_t leased_bytes = 0;
  std::uint64_t free_bytes = 0;
  std::uint64_t reclaiming_bytes = 0;
  std::uint64_t unpinned_bytes = 0;
  std::uint64_t leases = 0;
  std::uint64_t connections = 0;  // attached to leases that are not over
};

class LeaseTable {
 public:
  explicit LeaseTable(const LeaseTableOptions& options);

  // The segment can be lent from now on.
  void pinned(std::uint32_t segment);
  // Pinning has failed: the segments that are unpinned now will never come.
  PinningEnd end_pinning();

  // A lease of `wanted_bytes`, rounded up to segments, held by `control`. LeaseMustWait while
  // memory is on its way that would help: back from a lease, or still being pinned. Error: kNoSpace
  // or kUnavailable (too many leases, of all or of its host), with the figures. `now_ms` never goes
  // back.
  LeaseAnswer grant(LeaseWish wish, std::uint64_t now_ms);

  // Errors: kLost (no such lease, or not its token: the same answer), kUnavailable (too many
  // connections).
  Result<LeaseView> attach_control(const LeaseId& id, const LeaseToken& token,
                                   ConnectionId connection);
  Result<LeaseView> attach_data(const LeaseId& id, const LeaseToken& token, std::uint64_t lane,
                                ConnectionId connection);
  // Whether `connection` is the only one of its lane that is left: those whose place it took, and
  // theirs, have been detached.
  [[nodiscard]] bool is_alone_in_lane(const LeaseId& id, ConnectionId connection) const;

  // The connection has ended, with all I/O of it. Unknown ones are ignored: a control connection
  // may have been replaced before.
  void detach(const LeaseId& id, ConnectionId connection, Departure departure,
              std::uint64_t now_ms);

  // Ends the lease at the wish of its control connection, which counts as detached from now on.
  // nullopt if `control` does not hold it.
  std::optional<EndedLease> release(const LeaseId& id, ConnectionId control);

  // Ends every lease whose grace time has passed.
  std::vector<EndedLease> expire(std::uint64_t now_ms);

  // The leases that became safe to scrub since the last call.
  std::vector<FencedLease> take_fenced();
  // The segment is all zeros again.
  void scrubbed(std::uint32_t segment);

  [[nodiscard]] LeaseTotals totals() const;
  // "host:/mnt/ramstripe" of each lease that is not over.
  [[nodiscard]] std::vector<std::string> requesters() const;

 private:
  enum class SegmentState : std::uint8_t { kUnpinned, kFree, kLeased, kReclaiming, kLost };

  // A data connection, or a control connection that was replaced.
  struct Other {
    ConnectionId connection;
    std::uint64_t lane;  // 0: control
  };
  struct Lease {
    LeaseToken token;
    std::string requester;
    std::string host;
    std::vector<std::uint32_t> segments;
    bool descriptors_passed = false;
    std::optional<ConnectionId> control;
    std::vector<Other> others;
    std::optional<std::uint64_t> grace_ends_ms;  // set while there is no control connection
    bool is_over = false;
    std::optional<ConnectionId> releasing;
  };

  Lease* find(const LeaseId& id, const LeaseToken& token);
  EndedLease end(const LeaseId& id, Lease& lease);
  void fence_if_idle(const LeaseId& id);
  [[nodiscard]] std::optional<Error> too_many_leases(const std::string& host) const;
  [[nodiscard]] LeaseMustWait waiting_for_memory(std::uint64_t now_ms) const;
  [[nodiscard]] Error no_space(std::uint64_t wanted_bytes) const;
  [[nodiscard]] std::uint64_t bytes_in(SegmentState state) const;
  std::vector<std::uint32_t> take_segments(std::uint64_t count);

  LeaseTableOptions options_;
  std::vector<SegmentState> segments_;
  std::uint64_t free_segments_;
  bool has_lent_ = false;   // ever
  bool is_closed_ = false;  // nothing is lent any more
  struct IdHash {
    std::size_t operator()(const LeaseId& id) const;
  };
  boost::unordered_flat_map<LeaseId, Lease, IdHash> leases_;
  std::vector<FencedLease> fenced_;
};

}  // namespace rram
