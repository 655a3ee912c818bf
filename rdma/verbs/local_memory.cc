#include "rdma/verbs/local_memory.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/size_text.h"

namespace rram {

namespace {

std::string lock_limit_text() {
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  return limit.rlim_cur == RLIM_INFINITY ? "unlimited" : size_text(limit.rlim_cur);
}

}  // namespace

Result<UniqueMemoryRegion> register_memory(ibv_pd& domain, std::span<std::byte> memory,
                                           int access) {
  UniqueMemoryRegion region(ibv_reg_mr(&domain, memory.data(), memory.size(), access));
  if (region) return region;
  const int error = errno;
  const char* device = ibv_get_device_name(domain.context->device);
  if (error == ENOMEM || error == EPERM || error == EAGAIN) {
    return fail(
        ErrorCode::kUnavailable,
        fmt::format("{} cannot register {} of memory ({}): the limit on locked memory is {} "
                    "(ulimit -l, LimitMEMLOCK=); or the device has no room for more",
                    device, size_text(memory.size()), std::strerror(error), lock_limit_text()));
  }
  return fail_errno(
      error, fmt::format("{} cannot register {} of memory", device, size_text(memory.size())));
}

Result<std::shared_ptr<LocalMemory>> LocalMemory::create(ibv_context& device) {
  Result<UniqueProtectionDomain> domain = make_protection_domain(device);
  if (!domain) return std::unexpected(domain.error());
  return std::shared_ptr<LocalMemory>(new LocalMemory(std::move(*domain)));
}

Result<std::shared_ptr<ibv_mr>> LocalMemory::announce(std::span<std::byte> arena) {
  const std::lock_guard lock(mutex_);
  std::weak_ptr<ibv_mr>& known = regions_[{arena.data(), arena.size()}];
  if (std::shared_ptr<ibv_mr> region = known.lock()) return region;
  Result<UniqueMemoryRegion> made = register_memory(*domain_, arena, IBV_ACCESS_LOCAL_WRITE);
  if (!made) return std::unexpected(made.error());
  std::shared_ptr<ibv_mr> region = std::move(*made);
  known = region;
  return region;
}

Result<std::shared_ptr<LocalMemory>> LocalMemories::of(ibv_context& device) {
  const std::lock_guard lock(mutex_);
  std::weak_ptr<LocalMemory>& known = known_[&device];
  if (std::shared_ptr<LocalMemory> memory = known.lock()) return memory;
  Result<std::shared_ptr<LocalMemory>> memory = LocalMemory::create(device);
  if (memory) known = *memory;
  return memory;
}

}  // namespace rram
