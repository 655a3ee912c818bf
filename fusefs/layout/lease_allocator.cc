#include "fusefs/layout/lease_allocator.h"

#include <bit>
#include <cassert>

#include "base/range_check.h"

namespace rram {

namespace {

// By order: where an aligned run may start.
constexpr std::uint64_t kAlignedStarts[kMaxOrder + 1] = {
    ~std::uint64_t{0},   0x5555555555555555U, 0x1111111111111111U, 0x0101010101010101U,
    0x0001000100010001U, 0x0000000100000001U, 0x0000000000000001U};

// Bit p set: an aligned free run of the order starts at granule p.
std::uint64_t run_starts(std::uint64_t free_mask, unsigned order) {
  std::uint64_t starts = free_mask;
  for (unsigned k = 0; k < order; ++k) {
    starts &= (starts >> (1U << k)) & kAlignedStarts[k + 1];
  }
  return starts;
}

// free_mask is not 0.
unsigned largest_run_order(std::uint64_t free_mask) {
  unsigned order = 0;
  while (order < kMaxOrder && run_starts(free_mask, order + 1) != 0) {
    ++order;
  }
  return order;
}

// The lowest of the smallest free runs that hold the order. There is one.
unsigned best_start(std::uint64_t free_mask, unsigned order) {
  for (unsigned k = order; k < kMaxOrder; ++k) {
    const std::uint64_t larger = run_starts(free_mask, k + 1);
    // A run of order k + 1 is two runs of order k; leave it whole while another will do.
    const std::uint64_t exact = run_starts(free_mask, k) & ~(larger | larger << (1U << k));
    if (exact != 0) {
      return static_cast<unsigned>(std::countr_zero(exact));
    }
  }
  return 0;
}

}  // namespace

LeaseAllocator::LeaseAllocator(const Geometry& geometry, std::uint64_t units)
    : max_order_(geometry.max_order()),
      full_mask_(granule_mask(0, geometry.granules_per_unit())),
      total_granules_(units << geometry.max_order()),
      free_granules_(total_granules_),
      free_units_(units),
      carved_units_(geometry.max_order(), IndexSet(units)) {
  free_units_.fill();
}

std::optional<GranuleRun> LeaseAllocator::allocate(unsigned order) {
  assert(order <= max_order_);
  for (unsigned largest = order; largest < max_order_; ++largest) {
    if (const auto unit = carved_units_[largest].lowest()) {
      return take_from_carved(*unit, order);
    }
  }
  const auto unit = free_units_.lowest();
  if (!unit) {
    return std::nullopt;
  }
  const GranuleRun run{*unit << max_order_, order};
  set_free_mask(*unit, full_mask_, full_mask_ & ~run_mask(run));
  return run;
}

GranuleRun LeaseAllocator::take_from_carved(std::uint64_t unit, unsigned order) {
  const FreeMask before = free_mask(unit);
  const GranuleRun run{(unit << max_order_) + best_start(before, order), order};
  assert((run_mask(run) & ~before) == 0);
  set_free_mask(unit, before, before & ~run_mask(run));
  return run;
}

void LeaseAllocator::free(GranuleRun run) {
  const FreeMask mask = run_mask(run);
  const std::uint64_t unit = unit_of(run.granule);
  const FreeMask before = free_mask(unit);
  assert((before & mask) == 0 && "freed twice");
  set_free_mask(unit, before, before | mask);
}

bool LeaseAllocator::can_grow_in_place(GranuleRun run, unsigned new_order) const {
  assert(new_order >= run.order && new_order <= max_order_);
  if ((run.granule & ((std::uint64_t{1} << new_order) - 1)) != 0) {
    return false;
  }
  const FreeMask wanted = run_mask({run.granule, new_order}) & ~run_mask(run);
  return (wanted & ~free_mask(unit_of(run.granule))) == 0;
}

bool LeaseAllocator::grow_in_place(GranuleRun run, unsigned new_order) {
  if (!can_grow_in_place(run, new_order)) {
    return false;
  }
  const std::uint64_t unit = unit_of(run.granule);
  const FreeMask before = free_mask(unit);
  assert((before & run_mask(run)) == 0 && "grows a free run");
  set_free_mask(unit, before, before & ~run_mask({run.granule, new_order}));
  return true;
}

LeaseAllocator::FreeMask LeaseAllocator::run_mask(GranuleRun run) const {
  const unsigned granules = 1U << run.order;
  assert(run.order <= max_order_ && (run.granule & (granules - 1)) == 0);
  assert(range_is_inside(run.granule, granules, total_granules_));
  const unsigned begin = granule_in_unit(run.granule);
  return granule_mask(begin, begin + granules);
}

LeaseAllocator::FreeMask LeaseAllocator::free_mask(std::uint64_t unit) const {
  if (free_units_.contains(unit)) {
    return full_mask_;
  }
  const auto carved = carved_masks_.find(unit);
  return carved == carved_masks_.end() ? 0 : carved->second;
}

void LeaseAllocator::set_free_mask(std::uint64_t unit, FreeMask before, FreeMask after) {
  free_granules_ -= static_cast<unsigned>(std::popcount(before));
  free_granules_ += static_cast<unsigned>(std::popcount(after));

  const bool was_carved = before != 0 && before != full_mask_;
  const bool is_carved = after != 0 && after != full_mask_;
  if (is_carved) {
    carved_masks_[unit] = after;
  } else if (was_carved) {
    carved_masks_.erase(unit);
  }

  const unsigned order_before = before == 0 ? 0 : largest_run_order(before);
  const unsigned order_after = after == 0 ? 0 : largest_run_order(after);
  if (was_carved && is_carved && order_before == order_after) {
    return;
  }
  if (before != 0) {
    (was_carved ? carved_units_[order_before] : free_units_).erase(unit);
  }
  if (after != 0) {
    (is_carved ? carved_units_[order_after] : free_units_).insert(unit);
  }
}

}  // namespace rram
