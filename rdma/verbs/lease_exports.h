// The memory of leases as RDMA devices of this provider reach it: for each lease, on each device
// that its connections come over, a protection domain and registrations of its own, so that a queue
// pair of one lease can reach nothing of another.
//
// Any thread; a mutex each, leaves: nothing is registered under them.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "base/cpus.h"
#include "base/event_loop.h"
#include "base/result.h"
#include "base/task.h"
#include "rdma/verbs/handles.h"
#include "rdma/wire/frames.h"

namespace rram {

// One lease on one device. Its domain is there from the beginning, for queue pairs that may join;
// its memory is registered once somebody has shown the right to it.
class LeaseExport {
 public:
  static Result<std::shared_ptr<LeaseExport>> create(ibv_context& device);
  ~LeaseExport() { revoke(); }
  LeaseExport(const LeaseExport&) = delete;
  LeaseExport& operator=(const LeaseExport&) = delete;

  [[nodiscard]] ibv_pd& domain() const { return *domain_; }

  // Registers all regions, several at a time, on threads of its own, unless somebody has begun it
  // before; resumes when it is done. It takes long for large memory. `cpus`: where, because whoever
  // asks may be pinned. kUnavailable names the limit that stands against it. kCancelled once
  // `is_wanted` says no; the registration goes on, for whoever asks next, until revoke().
  Task<Status> registered(EventLoop& loop, std::vector<std::span<std::byte>> regions,
                          std::vector<unsigned> cpus, std::function<bool()> is_wanted);
  // After registered(): in the order of the regions.
  [[nodiscard]] std::vector<RegionEntry> entries() const;

  // Ends the registrations, also those that are being made: no device reaches the memory any more,
  // whoever still has a queue pair in the domain, and none will through this object. Takes long for
  // large memory. Nobody is in registered().
  void revoke();

 private:
  class Registration;
  enum class State : std::uint8_t { kEmpty, kRegistering, kReady, kFailed, kRevoked };

  explicit LeaseExport(UniqueProtectionDomain domain) : domain_(std::move(domain)) {}
  Status begin(std::vector<std::span<std::byte>> regions, std::vector<unsigned> cpus);
  void finish(Result<std::vector<UniqueMemoryRegion>> regions);

  const UniqueProtectionDomain domain_;
  mutable std::mutex mutex_;  // guards what follows; threads are joined outside
  State state_ = State::kEmpty;
  std::optional<Error> failure_;
  std::vector<UniqueMemoryRegion> regions_;  // after the domain: they go first
  std::jthread registrar_;
  std::atomic<bool> is_called_off_{false};
};

class LeaseExports {
 public:
  // CPUs that memory may be registered on: those of the thread that made this object.
  [[nodiscard]] const std::vector<unsigned>& cpus() const { return cpus_; }

  // A lease that was granted: from now on it can be found.
  void open(const LeaseId& lease);
  // The lease on that device. Null: there is no such lease.
  Result<std::shared_ptr<LeaseExport>> find(const LeaseId& lease, ibv_context& device);
  // The lease is fenced: no attached queue pair in its domains is left. Afterwards no device
  // reaches its memory any more. Takes long for large memory.
  void drop(const LeaseId& lease);

 private:
  static std::shared_ptr<LeaseExport> on_device(
      const std::vector<std::shared_ptr<LeaseExport>>& exports, const ibv_context& device);

  const std::vector<unsigned> cpus_ = usable_cpus();
  std::mutex mutex_;  // guards exports_
  std::map<LeaseId, std::vector<std::shared_ptr<LeaseExport>>> exports_;
};

}  // namespace rram
