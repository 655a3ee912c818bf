// Memory of this process that one RDMA device may read and write for us: the requester's payload
// buffers. Registered once, used by all lanes over that device.
//
// Any thread; one mutex, a leaf, under which memory is registered.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <utility>

#include "base/result.h"
#include "rdma/verbs/handles.h"

namespace rram {

class LocalMemory {
 public:
  static Result<std::shared_ptr<LocalMemory>> create(ibv_context& device);

  [[nodiscard]] ibv_pd& domain() const { return *domain_; }

  // The registration of `arena`, which is made if nobody has one; it lasts as long as somebody
  // does, and the arena lasts longer. kUnavailable names the limit.
  Result<std::shared_ptr<ibv_mr>> announce(std::span<std::byte> arena);

 private:
  explicit LocalMemory(UniqueProtectionDomain domain) : domain_(std::move(domain)) {}

  const UniqueProtectionDomain domain_;
  std::mutex mutex_;  // guards regions_
  std::map<std::pair<const std::byte*, std::size_t>, std::weak_ptr<ibv_mr>> regions_;
};

// The LocalMemory of each device that is in use. Shared by all leases of a mount.
class LocalMemories {
 public:
  Result<std::shared_ptr<LocalMemory>> of(ibv_context& device);

 private:
  std::mutex mutex_;  // guards known_
  std::map<ibv_context*, std::weak_ptr<LocalMemory>> known_;
};

// Registers memory, or says which limit stands against it and what to do.
Result<UniqueMemoryRegion> register_memory(ibv_pd& domain, std::span<std::byte> memory, int access);

}  // namespace rram
