#include "rdma/verbs/lease_exports.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "base/size_text.h"
#include "rdma/verbs/local_memory.h"

namespace rram {

namespace {

constexpr unsigned kMaxThreads = 8;

// What a requester may do with a region, on queue pairs that allow it.
constexpr int kAccess = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;

// Registers regions until none is left or one has failed.
class Registration {
 public:
  Registration(ibv_pd& domain, const std::vector<std::span<std::byte>>& regions,
               const std::vector<unsigned>& cpus)
      : domain_(domain), regions_(regions), cpus_(cpus), registered_(regions.size()) {}

  Result<std::vector<UniqueMemoryRegion>> run() {
    const std::size_t count = std::clamp<std::size_t>(cpus_.size(), 1, kMaxThreads);
    std::vector<std::jthread> threads;
    while (threads.size() + 1 < std::min(count, regions_.size()) && add_worker(threads)) {
    }
    work();
    threads.clear();
    if (failure_) return std::unexpected(*failure_);
    return std::move(registered_);
  }

 private:
  // False: the host gives no more threads.
  bool add_worker(std::vector<std::jthread>& threads) {
    try {
      threads.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      return false;
    }
    return true;
  }

  void work() {
    spread_this_thread(cpus_);
    for (std::size_t i = next_++; i < regions_.size() && !has_failed_; i = next_++) {
      Result<UniqueMemoryRegion> region = register_memory(domain_, regions_[i], kAccess);
      if (region) {
        registered_[i] = std::move(*region);
      } else if (!has_failed_.exchange(true)) {
        failure_ = std::move(region.error());
      }
    }
  }

  ibv_pd& domain_;
  const std::vector<std::span<std::byte>>& regions_;
  const std::vector<unsigned>& cpus_;
  std::vector<UniqueMemoryRegion> registered_;
  std::atomic<std::size_t> next_{0};
  std::atomic<bool> has_failed_{false};
  std::optional<Error> failure_;
};

Status check_limits(ibv_context& device, const std::vector<std::span<std::byte>>& regions) {
  ibv_device_attr limits{};
  if (const int rc = ibv_query_device(&device, &limits); rc != 0) {
    return fail_errno(rc, "cannot ask the RDMA device for its limits");
  }
  const char* name = ibv_get_device_name(device.device);
  const std::uint64_t length = regions.empty() ? 0 : regions.front().size();
  if (length > limits.max_mr_size) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("{} registers at most {} at once, and the segments of this pool have "
                            "{}: lend less with --size",
                            name, size_text(limits.max_mr_size), size_text(length)));
  }
  if (std::cmp_greater(regions.size(), limits.max_mr)) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("{} registers at most {} pieces of memory, and this lease has {}", name,
                            limits.max_mr, regions.size()));
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<LeaseExport>> LeaseExport::create(
    ibv_context& device, const std::vector<std::span<std::byte>>& regions,
    const std::vector<unsigned>& cpus) {
  if (Status status = check_limits(device, regions); !status) {
    return std::unexpected(status.error());
  }
  UniqueProtectionDomain domain(ibv_alloc_pd(&device));
  if (!domain) {
    return fail_errno(errno, fmt::format("cannot make a protection domain on {}",
                                         ibv_get_device_name(device.device)));
  }
  std::shared_ptr<LeaseExport> made(new LeaseExport(std::move(domain)));
  Result<std::vector<UniqueMemoryRegion>> registered =
      Registration(made->domain(), regions, cpus).run();
  if (!registered) return std::unexpected(registered.error());
  made->regions_ = std::move(*registered);
  return made;
}

std::vector<RegionEntry> LeaseExport::entries() const {
  std::vector<RegionEntry> entries;
  entries.reserve(regions_.size());
  for (const UniqueMemoryRegion& region : regions_) {
    entries.push_back(
        {reinterpret_cast<std::uint64_t>(region->addr), region->length, region->rkey});
  }
  return entries;
}

void LeaseExports::add(const LeaseId& lease, std::shared_ptr<LeaseExport> exported) {
  const std::lock_guard lock(mutex_);
  exports_[lease].push_back(std::move(exported));
}

std::shared_ptr<LeaseExport> LeaseExports::find(const LeaseId& lease, ibv_context* device) const {
  const std::lock_guard lock(mutex_);
  const auto found = exports_.find(lease);
  if (found == exports_.end()) return nullptr;
  const auto on_device = std::ranges::find_if(found->second, [device](const auto& exported) {
    return exported->domain().context == device;
  });
  return on_device == found->second.end() ? nullptr : *on_device;
}

void LeaseExports::drop(const LeaseId& lease) {
  std::vector<std::shared_ptr<LeaseExport>> dropped;  // they go after the lock
  {
    const std::lock_guard lock(mutex_);
    const auto found = exports_.find(lease);
    if (found == exports_.end()) return;
    dropped = std::move(found->second);
    exports_.erase(found);
  }
  // Connections that never proved themselves may still keep the domain.
  for (const std::shared_ptr<LeaseExport>& exported : dropped) exported->revoke();
}

}  // namespace rram
