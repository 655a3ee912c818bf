// The memory of all leases of a volume: who has room, what is used.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "fusefs/layout/block.h"
#include "fusefs/layout/geometry.h"
#include "fusefs/layout/lease_allocator.h"
#include "fusefs/layout/placement.h"
#include "fusefs/layout/plan.h"

namespace rram {

// Owned by the volume, called under its lock. A provider is known here by its index; an index
// stands for one lease for ever: a provider that came back with other memory takes a new index.
class Space {
 public:
  explicit Space(const Geometry& geometry) : geometry_(geometry) {}

  const Geometry& geometry() const { return geometry_; }

  // Brings a provider's lease in: regions 0 .. region_count - 1 of region_bytes each. Leases may
  // come in any order of index. kInvalidArgument: the index is out of range or taken, region_bytes
  // is not a power of two of at least a stripe unit, or the lease is empty or too large.
  Status add_lease(unsigned provider, std::uint64_t region_bytes, std::uint64_t region_count);

  // An unusable provider gets no new blocks and its free memory does not count. Its blocks may
  // still be freed. A provider is usable when its lease comes in.
  void set_usable(unsigned provider, bool is_usable);
  bool is_usable(unsigned provider) const;
  bool has_usable_provider() const;
  bool has_unusable_provider() const;

  // A block of that order for the slot of the file: from the provider that the placement names, or
  // from the next one with a free run of that order. nullopt: none has one; for order 0 this means
  // that not one granule is free.
  std::optional<Block> allocate(unsigned order, std::uint32_t file_start, std::uint64_t slot);
  // Nobody may read or write the block any more (Quarantine).
  void free(Block block);

  // Whether the block could become one of new_order at the same start, and doing so.
  bool can_grow_in_place(Block block, unsigned new_order) const;
  std::optional<Block> grow_in_place(Block block, unsigned new_order);

  // Keeps that much of what is free for whoever then takes it back with unreserve() and allocates
  // it at once; nobody else sees it. False: there is not as much. A provider that becomes unusable
  // takes its memory with it, reserved or not.
  bool reserve(std::uint64_t granules);
  void unreserve(std::uint64_t granules);
  // Whoever reserved will not find all of it, and give back what was found.
  bool is_overbooked() const { return reserved_granules_ > free_granules_; }

  // Where a lease's granule is, and back.
  Place place_of(unsigned provider, std::uint64_t granule) const;
  std::uint64_t granule_of(const Place& place) const;

  std::uint64_t total_bytes() const { return geometry_.granules_to_bytes(total_granules_); }
  // What can still be allocated: free, on usable providers and not reserved.
  std::uint64_t free_bytes() const { return geometry_.granules_to_bytes(free_granules()); }
  std::uint64_t free_granules() const {
    return free_granules_ - std::min(free_granules_, reserved_granules_);
  }
  std::uint64_t capacity_bytes(unsigned provider) const;
  std::uint64_t used_bytes(unsigned provider) const;
  unsigned providers() const { return static_cast<unsigned>(leases_.size()); }

 private:
  struct Lease {
    LeaseAllocator allocator;
    unsigned region_shift;
    bool is_usable = true;
  };

  bool has_lease(unsigned provider) const {
    return provider < leases_.size() && leases_[provider].has_value();
  }
  Lease& lease(unsigned provider);
  const Lease& lease(unsigned provider) const;
  std::optional<Block> allocate_from(unsigned provider, unsigned order);
  void rebuild_placement();

  Geometry geometry_;
  // By provider index; an index may wait for its lease.
  std::vector<std::optional<Lease>> leases_;
  Placement placement_;
  bool is_placement_stale_ = false;  // 1,024 leases coming in build it once, not 1,024 times
  std::uint64_t total_granules_ = 0;
  std::uint64_t free_granules_ = 0;  // on usable providers
  std::uint64_t reserved_granules_ = 0;
};

}  // namespace rram
