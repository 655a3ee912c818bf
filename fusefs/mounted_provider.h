// One provider of a mount: its lease, and whether it can be reached. Says in one sentence what
// happens to it, keeps the volume from placing blocks where nobody answers, and brings the control
// connection back.
//
// Owned by main; lives on the control worker's loop. report_*() may be called from any worker.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/event_loop.h"
#include "base/gate.h"
#include "base/result.h"
#include "base/task.h"
#include "fusefs/volume.h"
#include "rdma/held_lease.h"

namespace rram {

// Attempts on a provider that is gone: pauses grow from the first to the last, and one attempt is
// short, so that detaching does not wait long for it.
constexpr std::uint64_t kFirstRetryMs = 50;
constexpr std::uint64_t kLastRetryMs = 2000;
constexpr std::uint64_t kRetryTimeoutMs = 1000;
// The mount itself waits longer, while a provider shows that it pins or registers its memory.
constexpr std::uint64_t kLongestMountMs = 10 * 60 * 1000;

class MountedProvider {
 public:
  MountedProvider(EventLoop& control_loop, Volume& volume, unsigned index,
                  std::unique_ptr<HeldLease> lease, std::uint64_t timeout_ms);
  ~MountedProvider();
  MountedProvider(const MountedProvider&) = delete;
  MountedProvider& operator=(const MountedProvider&) = delete;

  [[nodiscard]] unsigned index() const { return index_; }
  [[nodiscard]] HeldLease& lease() { return *lease_; }
  // For connecting again, and for operations.
  [[nodiscard]] std::uint64_t timeout_ms() const { return timeout_ms_; }

  // A worker's lane broke; a worker has a lane again; the provider answers, but without our memory.
  void report_link_down(const Error& reason);
  void report_link_up();
  void report_lost(const Error& reason);

  // Gives the lease back. All lanes are closed before. On the control loop.
  Task<> release();

 private:
  enum class State : std::uint8_t { kUp, kDown, kLost };

  void on_disconnected(const Error& reason);
  Task<> reconnect(Error reason);
  void note_down(const Error& reason);
  void note_up_if_whole();
  void note_lost(const Error& reason);

  EventLoop& loop_;
  Volume& volume_;
  const unsigned index_;
  const std::unique_ptr<HeldLease> lease_;
  const std::uint64_t timeout_ms_;
  const std::string text_;  // the provider's name in messages

  // On the control loop.
  State state_ = State::kUp;
  unsigned broken_links_ = 0;
  bool is_control_up_ = true;
  Gate reconnecting_;
};

}  // namespace rram
