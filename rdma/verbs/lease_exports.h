// The memory of leases as RDMA devices of this provider reach it: for each lease a protection
// domain and registrations of its own, so that a queue pair of one lease can reach nothing of
// another.
//
// Any thread; one mutex, a leaf: nothing is registered under it.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/cpus.h"
#include "base/result.h"
#include "rdma/verbs/handles.h"
#include "rdma/wire/frames.h"

namespace rram {

// One lease on one device. Constant between create() and revoke().
class LeaseExport {
 public:
  // Registers all regions, several at a time; takes long for large memory: not on a loop's thread.
  // `cpus`: where to do it, because whoever asks may be pinned. A region longer than the device
  // takes at once is kUnavailable, with the limit.
  static Result<std::shared_ptr<LeaseExport>> create(
      ibv_context& device, const std::vector<std::span<std::byte>>& regions,
      const std::vector<unsigned>& cpus);

  [[nodiscard]] ibv_pd& domain() const { return *domain_; }
  // In the order of the regions. Before revoke().
  [[nodiscard]] std::vector<RegionEntry> entries() const;
  // Ends the registrations: no device reaches the memory any more, whoever still has a queue pair
  // in the domain. Once, with nobody else in this object.
  void revoke() { regions_.clear(); }

 private:
  explicit LeaseExport(UniqueProtectionDomain domain) : domain_(std::move(domain)) {}

  const UniqueProtectionDomain domain_;
  std::vector<UniqueMemoryRegion> regions_;  // after the domain: they go first
};

class LeaseExports {
 public:
  // CPUs that memory may be registered on: those of the thread that made this object.
  [[nodiscard]] const std::vector<unsigned>& cpus() const { return cpus_; }

  void add(const LeaseId& lease, std::shared_ptr<LeaseExport> exported);
  // Null: this lease is not exported on that device.
  [[nodiscard]] std::shared_ptr<LeaseExport> find(const LeaseId& lease, ibv_context* device) const;
  // The lease is fenced: no attached queue pair in its domains is left. Afterwards no device
  // reaches its memory any more.
  void drop(const LeaseId& lease);

 private:
  const std::vector<unsigned> cpus_ = usable_cpus();
  mutable std::mutex mutex_;  // guards exports_
  std::map<LeaseId, std::vector<std::shared_ptr<LeaseExport>>> exports_;
};

}  // namespace rram
