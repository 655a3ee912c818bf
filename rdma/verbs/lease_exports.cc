#include "rdma/verbs/lease_exports.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <system_error>
#include <utility>

#include "base/size_text.h"
#include "rdma/verbs/local_memory.h"

namespace rram {

namespace {

constexpr unsigned kMaxThreads = 8;
// Pauses of who waits for a registration, which takes from a millisecond to many seconds.
constexpr std::uint64_t kFirstPauseMs = 1;
constexpr std::uint64_t kLongestPauseMs = 50;

// What a requester may do with a region, on queue pairs that allow it.
constexpr int kAccess = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;

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

// Registers regions until none is left or one has failed.
class LeaseExport::Registration {
 public:
  Registration(ibv_pd& domain, const std::vector<std::span<std::byte>>& regions,
               const std::vector<unsigned>& cpus, const std::atomic<bool>& is_called_off)
      : domain_(domain),
        regions_(regions),
        cpus_(cpus),
        is_called_off_(is_called_off),
        registered_(regions.size()) {}

  Result<std::vector<UniqueMemoryRegion>> run() {
    const std::size_t count = std::clamp<std::size_t>(cpus_.size(), 1, kMaxThreads);
    std::vector<std::jthread> threads;
    while (threads.size() + 1 < std::min(count, regions_.size()) && add_worker(threads)) {
    }
    work();
    threads.clear();
    if (failure_) return std::unexpected(*failure_);
    if (is_called_off_) return fail(ErrorCode::kCancelled, "the lease is over");
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
    for (std::size_t i = next_++; i < regions_.size() && !has_failed_ && !is_called_off_;
         i = next_++) {
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
  const std::atomic<bool>& is_called_off_;
  std::vector<UniqueMemoryRegion> registered_;
  std::atomic<std::size_t> next_{0};
  std::atomic<bool> has_failed_{false};
  std::optional<Error> failure_;
};

Result<std::shared_ptr<LeaseExport>> LeaseExport::create(ibv_context& device) {
  Result<UniqueProtectionDomain> domain = make_protection_domain(device);
  if (!domain) return std::unexpected(domain.error());
  return std::shared_ptr<LeaseExport>(new LeaseExport(std::move(*domain)));
}

Task<Status> LeaseExport::registered(EventLoop& loop, std::vector<std::span<std::byte>> regions,
                                     std::vector<unsigned> cpus, std::function<bool()> is_wanted) {
  const Status begun = begin(std::move(regions), std::move(cpus));
  if (!begun) co_return begun;
  for (std::uint64_t pause_ms = kFirstPauseMs;;
       pause_ms = std::min(2 * pause_ms, kLongestPauseMs)) {
    {
      const std::lock_guard lock(mutex_);
      if (state_ == State::kReady) co_return Status{};
      if (state_ == State::kFailed) co_return std::unexpected(*failure_);
      if (state_ == State::kRevoked) co_return fail(ErrorCode::kCancelled, "the lease is over");
    }
    if (!is_wanted()) co_return fail(ErrorCode::kCancelled, "the requester has gone");
    co_await loop.sleep_ms(pause_ms);
  }
}

Status LeaseExport::begin(std::vector<std::span<std::byte>> regions, std::vector<unsigned> cpus) {
  if (Status status = check_limits(*domain_->context, regions); !status) return status;
  std::jthread former;  // has ended, or is about to: it is joined after the lock
  const std::lock_guard lock(mutex_);
  // What has failed is tried again: the limit may have been raised.
  if (state_ != State::kEmpty && state_ != State::kFailed) return {};
  former = std::move(registrar_);
  try {
    registrar_ = std::jthread([this, regions = std::move(regions), cpus = std::move(cpus)] {
      finish(Registration(*domain_, regions, cpus, is_called_off_).run());
    });
  } catch (const std::system_error&) {
    return fail(ErrorCode::kUnavailable, "the provider's host has no thread left");
  }
  state_ = State::kRegistering;
  return {};
}

void LeaseExport::finish(Result<std::vector<UniqueMemoryRegion>> regions) {
  const std::lock_guard lock(mutex_);
  if (regions) {
    regions_ = std::move(*regions);
    state_ = State::kReady;
  } else {
    failure_ = std::move(regions.error());
    state_ = State::kFailed;
  }
}

std::vector<RegionEntry> LeaseExport::entries() const {
  const std::lock_guard lock(mutex_);
  std::vector<RegionEntry> entries;
  entries.reserve(regions_.size());
  for (const UniqueMemoryRegion& region : regions_) {
    entries.push_back(
        {reinterpret_cast<std::uint64_t>(region->addr), region->length, region->rkey});
  }
  return entries;
}

void LeaseExport::revoke() {
  is_called_off_ = true;
  std::jthread registrar;
  {
    const std::lock_guard lock(mutex_);
    registrar = std::move(registrar_);
  }
  if (registrar.joinable()) registrar.join();
  std::vector<UniqueMemoryRegion> regions;  // they go after the lock
  const std::lock_guard lock(mutex_);
  state_ = State::kRevoked;
  regions.swap(regions_);
}

std::shared_ptr<LeaseExport> LeaseExports::on_device(
    const std::vector<std::shared_ptr<LeaseExport>>& exports, const ibv_context& device) {
  const auto found = std::ranges::find_if(
      exports, [&device](const auto& exported) { return exported->domain().context == &device; });
  return found == exports.end() ? nullptr : *found;
}

void LeaseExports::open(const LeaseId& lease) {
  const std::lock_guard lock(mutex_);
  exports_.try_emplace(lease);
}

Result<std::shared_ptr<LeaseExport>> LeaseExports::find(const LeaseId& lease, ibv_context& device) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = exports_.find(lease);
    if (found == exports_.end()) return nullptr;
    if (std::shared_ptr<LeaseExport> known = on_device(found->second, device)) return known;
  }
  Result<std::shared_ptr<LeaseExport>> made = LeaseExport::create(device);
  if (!made) return made;
  const std::lock_guard lock(mutex_);
  const auto found = exports_.find(lease);
  if (found == exports_.end()) return nullptr;
  // Another connection may have been quicker.
  if (std::shared_ptr<LeaseExport> known = on_device(found->second, device)) return known;
  found->second.push_back(*made);
  return made;
}

void LeaseExports::drop(const LeaseId& lease) {
  std::vector<std::shared_ptr<LeaseExport>> dropped;
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
