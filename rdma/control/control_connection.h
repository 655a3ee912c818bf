// A lease without the way its data goes: connecting, handshake, heartbeats, being cut and coming
// back, release, and the data connections of its lanes. Used through ControlledLease.
//
// Belongs to the thread of its loop, except open_data(): any thread. Before it is destroyed,
// release() has resumed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/fd.h"
#include "base/result.h"
#include "base/task.h"
#include "rdma/control/byte_channel.h"
#include "rdma/control/dialer.h"
#include "rdma/control/session_driver.h"
#include "rdma/endpoint.h"
#include "rdma/held_lease.h"
#include "rdma/transport.h"

namespace rram {

// What a requester needs to reach the memory of its lease.
enum class MemoryNames : std::uint8_t {
  kNumbers,      // a region is its number: frames over a socket
  kDescriptors,  // of the memory itself, with the lease
  kKeys,         // addresses and keys, with each data connection
};

// A data connection that has joined its lease.
struct DataConnection {
  std::unique_ptr<ByteChannel> channel;
  LaneIdentity identity;
  std::vector<RegionEntry> regions;  // MemoryNames::kKeys: one for each region
};

class ControlConnection {
 public:
  // Connects and takes a lease.
  static Task<Result<std::unique_ptr<ControlConnection>>> open(EventLoop& loop,
                                                               std::unique_ptr<Dialer> dialer,
                                                               LeaseOptions options,
                                                               MemoryNames names);
  ~ControlConnection();
  ControlConnection(const ControlConnection&) = delete;
  ControlConnection& operator=(const ControlConnection&) = delete;

  // "tcp://10.0.0.1:7470 (node1)"
  [[nodiscard]] const std::string& provider_text() const { return provider_text_; }
  [[nodiscard]] const std::vector<RemoteRegion>& regions() const { return regions_; }
  [[nodiscard]] const LeaseId& lease_id() const { return joining_.terms.lease_id; }
  // Those that came with the lease; once.
  std::vector<UniqueFd> take_descriptors() { return std::move(descriptors_); }

  // `handler` is called from the loop when the connection ends by itself, once per connection.
  void set_on_ended(std::function<void(const Error&)> handler) { on_ended_ = std::move(handler); }
  // Until then (EventLoop::now_ms()) the provider keeps the lease even if it hears nothing more
  // from us; only while connected. `handler` is called from the loop when it has moved on.
  [[nodiscard]] std::uint64_t lease_valid_until_ms() const {
    return driver_->lease_valid_until_ms();
  }
  void set_on_confirmed(std::function<void(std::uint64_t valid_until_ms)> handler) {
    on_confirmed_ = std::move(handler);
  }
  // Connects again and finds the same lease: see HeldLease::reconnect().
  Task<Status> reconnect(std::uint64_t timeout_ms);
  Task<> release(std::uint64_t timeout_ms);

  // The data connection of a lane (HeldLease::open_lane), for the thread that runs `loop`.
  Task<Result<DataConnection>> open_data(EventLoop& loop, std::uint64_t lane,
                                         TimeLimit limit) const;

 private:
  ControlConnection(EventLoop& loop, std::unique_ptr<Dialer> dialer, LeaseOptions options,
                    MemoryNames names)
      : loop_(loop), dialer_(std::move(dialer)), options_(std::move(options)), names_(names) {}

  Task<Status> take_lease();
  [[nodiscard]] RequesterSessionOptions session_options(Role role, RequesterGoal goal,
                                                        std::uint64_t timeout_ms) const;
  void watch_driver();
  void on_driver_ended(const Error& reason);

  EventLoop& loop_;
  const std::unique_ptr<Dialer> dialer_;
  LeaseOptions options_;
  const MemoryNames names_;
  const std::shared_ptr<WriteFence> fence_ = std::make_shared<WriteFence>();

  // Set by open() and constant after it: open_data() reads them on other threads.
  JoinLease joining_;
  std::string provider_text_;
  std::vector<RemoteRegion> regions_;

  std::vector<UniqueFd> descriptors_;
  std::unique_ptr<SessionDriver> driver_;
  bool is_ending_ = false;  // by our own will: nobody needs to be told
  std::function<void(const Error&)> on_ended_;
  std::function<void(std::uint64_t)> on_confirmed_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace rram
