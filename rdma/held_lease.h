// The requester's hold on part of one provider's pool: the control connection, the lease it was
// granted, its heartbeats. The volume opens one per provider, and each worker opens its lane from
// it.
//
// Threads: belongs to the thread of the loop it was opened on, except open_lane(), which any worker
// calls on its own thread with its own loop.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/task.h"
#include "rdma/endpoint.h"
#include "rdma/record/record_keys.h"
#include "rdma/session/preshared_key.h"
#include "rdma/transport.h"

namespace rram {

class LocalMemories;

// Set by somebody, on any thread, who does not want what takes long any more; null: nobody will.
using CallOff = std::shared_ptr<const std::atomic<bool>>;

// What is under way then still fits: 32 GiB before kMaxRecordsPerKey.
inline constexpr std::uint64_t kRecordsBeforeRenewal = kMaxRecordsPerKey / 8 * 7;

struct LeaseOptions {
  std::string requester_name;  // for the provider's messages: host and mount point
  std::optional<PresharedKey> key;
  // Every connection travels in records. Needs a key, and a provider over TCP (check_tls()).
  bool tls = false;
  // A lane's keys are replaced after so many records; tests take fewer.
  std::uint64_t records_before_renewal = kRecordsBeforeRenewal;
  std::uint64_t wanted_bytes = 0;   // 0: all that is free
  std::uint64_t timeout_ms = 5000;  // connecting, handshake and grant together
  std::uint64_t longest_ms = 0;     // TimeLimit::longest_ms, for what timeout_ms is for
  CallOff call_off;                 // of taking the lease
  std::string rdma_device;          // verbs: the only device to use; empty: any
  // verbs: what the leases of one mount share (connector.h); null: this lease has its own.
  std::shared_ptr<LocalMemories> rdma_memories;
};

// How long an attempt may take: `timeout_ms`, and longer, up to `longest_ms` in all, while the
// provider shows that it works on it (pins or registers memory).
struct TimeLimit {
  std::uint64_t timeout_ms = 0;
  std::uint64_t longest_ms = 0;  // less than timeout_ms: no longer than that
  CallOff call_off;              // kCancelled, once the connection stands
};

class HeldLease {
 public:
  virtual ~HeldLease() = default;
  HeldLease(const HeldLease&) = delete;
  HeldLease& operator=(const HeldLease&) = delete;

  // "tcp", "shm", "local", "verbs".
  [[nodiscard]] virtual std::string_view transport_name() const = 0;
  // The provider in messages: its endpoint, and its name where it has told one.
  [[nodiscard]] virtual std::string provider_text() const = 0;
  // Equal lengths; in lease order. Valid and constant for the life of this object.
  [[nodiscard]] virtual const std::vector<RemoteRegion>& regions() const = 0;
  [[nodiscard]] std::uint64_t size_bytes() const;

  // A new lane for the worker that runs `loop`; called on that worker's thread. `lane`: its number
  // in this lease, not 0. It takes the place of an earlier one of that number, which is closed, and
  // of which nothing can arrive at the provider any more when this resumes. kLost: the provider
  // came back without this lease; its data will never be readable again.
  virtual Task<Result<std::unique_ptr<Lane>>> open_lane(EventLoop& loop, std::uint64_t lane,
                                                        TimeLimit limit) = 0;

  // The control connection has ended by itself (called once per connection, from the loop; at once,
  // if it has ended before anybody asked).
  void set_on_disconnected(std::function<void(const Error&)> handler) {
    on_disconnected_ = std::move(handler);
    if (on_disconnected_ && unheard_) {
      const Error reason = *std::exchange(unheard_, std::nullopt);
      on_disconnected_(reason);
    }
  }
  // Connects again and finds the same lease. kLost as above; any other failure: try again later.
  virtual Task<Status> reconnect(std::uint64_t timeout_ms) = 0;

  // Gives the memory back to the provider, if it can be reached, and ends the connection. After it
  // this object may be destroyed; all lanes are closed before. One of reconnect() and release() at
  // a time.
  virtual Task<> release(std::uint64_t timeout_ms) = 0;

 protected:
  HeldLease() = default;
  // The implementation's word that the control connection has ended by itself.
  void note_disconnected(const Error& reason) {
    if (on_disconnected_) {
      on_disconnected_(reason);
    } else {
      unheard_ = reason;
    }
  }

 private:
  std::function<void(const Error&)> on_disconnected_;
  std::optional<Error> unheard_;
};

}  // namespace rram
