// What a session tells its owner to do, as values. The owner carries out the actions of one call in
// their order, before it gives the session anything else.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "base/result.h"
#include "rdma/record/record_keys.h"
#include "rdma/session/lease_terms.h"
#include "rdma/wire/codec.h"
#include "rdma/wire/frames.h"

namespace rram {

// Send these bytes.
struct SendFrame {
  FrameBytes bytes;
};

// Everything that is sent from here on, and everything that comes after what has been received so
// far, travels in records (rdma/record/record_stream.h).
struct StartRecords {
  RecordKeys keys;
};

// Send these bytes by one sendmsg() of their own, with the descriptors of `count` regions of the
// lease from `first_region` as SCM_RIGHTS.
struct SendDescriptors {
  FrameBytes bytes;
  std::uint32_t first_region;
  std::uint32_t count;
};

// The session is over: close the connection when what was to be sent before is sent (or cannot be).
// Always the last action of a session.
struct CloseConnection {
  // Why, for the log and for whoever waits; names the peer.
  Error reason;
  // Ended by agreement: the lease was released, or nothing was wanted of it.
  bool orderly;
};

// ---- provider ----

// Answer with grant(), wait() or end().
struct WantLease {
  std::uint64_t wanted_bytes;  // 0: all that is free
  bool descriptors;
};

// Answer with attached() or end(). A wrong token and a lease that does not exist have one answer.
struct WantAttach {
  Role role;
  LeaseId lease_id;
  LeaseToken token;
  std::uint64_t lane;  // data: see docs/protocol.md, ATTACH
};

// Answer with stats().
struct WantStats {
  std::uint64_t tag;
};

// The requester gives the lease back: fence it, then answer with released().
struct WantRelease {};

using ProviderAction = std::variant<SendFrame, StartRecords, SendDescriptors, WantLease, WantAttach,
                                    WantStats, WantRelease, CloseConnection>;
using ProviderActions = std::vector<ProviderAction>;

// ---- requester ----

// The `count` descriptors that came with this frame are regions from `first_region` on.
struct TakeDescriptors {
  std::uint32_t first_region;
  std::uint32_t count;
};

// The lease is granted and complete.
struct LeaseReady {
  LeaseTerms terms;
};

// The connection belongs to the lease: a data connection may carry data from now on, a control
// connection keeps it alive again.
struct LeaseJoined {
  LeaseTerms terms;
  std::vector<RegionEntry> regions;  // where JoinLease::wants_regions: one for each region
};

// The memory is not there yet; the session asks again by itself.
struct LeaseDelayed {
  std::uint64_t reclaiming_bytes;
  std::uint32_t retry_ms;
};

// The provider works on the answer: whoever waits for it waits anew.
struct AnswerPending {};

// A session without a lease may now be asked for statistics.
struct SessionReady {};

struct StatsArrived {
  StatsReply stats;
};

using RequesterAction =
    std::variant<SendFrame, StartRecords, TakeDescriptors, LeaseReady, LeaseJoined, LeaseDelayed,
                 AnswerPending, SessionReady, StatsArrived, CloseConnection>;
using RequesterActions = std::vector<RequesterAction>;

}  // namespace rram
