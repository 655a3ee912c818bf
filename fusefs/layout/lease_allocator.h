// Which granules of one provider's lease are free.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <optional>
#include <vector>

#include "fusefs/layout/geometry.h"
#include "fusefs/layout/index_set.h"

namespace rram {

// A run of 2^order granules of a lease, starting at a multiple of its size.
struct GranuleRun {
  std::uint64_t granule;
  unsigned order;
};

// Owned by Space, called under the volume's lock. Does no I/O and knows no provider.
//
// A stripe unit of the lease is free, wholly used, or carved; only a carved unit has a record (the
// mask of its free granules). It does not remember how a used run was once allocated: any aligned
// part of a used run may be freed, so blocks can be halved or taken apart without telling it.
// Among equal choices the lowest address wins, so behaviour depends on the calls alone.
//
// Memory: 1 bit per unit (1/2 KiB per GiB at 256 KiB), once a unit was carved up to 1 more bit per
// unit and order (4 KiB per GiB in all), and about 20 bytes per carved unit.
class LeaseAllocator {
 public:
  LeaseAllocator(const Geometry& geometry, std::uint64_t units);

  std::uint64_t total_granules() const { return total_granules_; }
  std::uint64_t free_granules() const { return free_granules_; }

  // Best fit: the carved unit whose largest free run is smallest but sufficient, in it the smallest
  // sufficient run; a free unit only if no carved one will do. nullopt: no free run of that order.
  std::optional<GranuleRun> allocate(unsigned order);

  // Freeing what is free, or outside the lease, asserts.
  void free(GranuleRun run);

  // True if the run could become one of new_order with the same start: it is aligned for that and
  // everything behind it up to the new end is free.
  bool can_grow_in_place(GranuleRun run, unsigned new_order) const;
  // Does it if it can; says whether it did.
  bool grow_in_place(GranuleRun run, unsigned new_order);

 private:
  using FreeMask = std::uint64_t;

  std::uint64_t unit_of(std::uint64_t granule) const { return granule >> max_order_; }
  unsigned granule_in_unit(std::uint64_t granule) const {
    return static_cast<unsigned>(granule & ((std::uint64_t{1} << max_order_) - 1));
  }
  FreeMask run_mask(GranuleRun run) const;
  FreeMask free_mask(std::uint64_t unit) const;
  // Replaces a unit's mask and files the unit where its new mask belongs.
  void set_free_mask(std::uint64_t unit, FreeMask before, FreeMask after);
  GranuleRun take_from_carved(std::uint64_t unit, unsigned order);

  unsigned max_order_;
  FreeMask full_mask_;
  std::uint64_t total_granules_;
  std::uint64_t free_granules_;
  IndexSet free_units_;
  // carved_units_[k]: the carved units whose largest free run has order k; k < max_order.
  std::vector<IndexSet> carved_units_;
  boost::unordered_flat_map<std::uint64_t, FreeMask> carved_masks_;
};

}  // namespace rram
