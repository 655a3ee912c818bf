#include "fusefs/layout/space.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cassert>

namespace rram {

namespace {

constexpr std::uint64_t kGoldenRatioBits = 0x9E3779B97F4A7C15U;

// Where the search begins when the preferred provider is full. Mixed, because turns and providers
// go in step: the share of a full provider must go to all others and not to its neighbour.
unsigned fallback_start(std::uint64_t turn, unsigned providers) {
  return static_cast<unsigned>((turn * kGoldenRatioBits >> 32U) % providers);
}

}  // namespace

Status Space::add_lease(unsigned provider, std::uint64_t region_bytes, std::uint64_t region_count) {
  if (provider >= kMaxProviders || has_lease(provider)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("there can be no lease {}: it is taken or not below {}", provider,
                            kMaxProviders));
  }
  const std::uint64_t unit_bytes = geometry_.stripe_unit_bytes();
  if (!std::has_single_bit(region_bytes) || region_bytes < unit_bytes) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("regions of {} bytes: they must be a power of two of at least {} bytes "
                            "(the stripe unit)",
                            region_bytes, unit_bytes));
  }
  const std::uint64_t region_granules = geometry_.bytes_to_granules(region_bytes);
  if (region_count == 0 || region_count > kMaxLeaseGranules / region_granules ||
      region_count > std::uint64_t{1} << 32U) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("a lease of {} regions of {} bytes", region_count, region_bytes));
  }
  if (provider >= leases_.size()) {
    leases_.resize(provider + 1);
  }
  const std::uint64_t units = region_count * (region_bytes / unit_bytes);
  leases_[provider].emplace(Lease{LeaseAllocator(geometry_, units),
                                  static_cast<unsigned>(std::countr_zero(region_bytes))});
  total_granules_ += region_count * region_granules;
  free_granules_ += region_count * region_granules;
  is_placement_stale_ = true;
  return {};
}

void Space::set_usable(unsigned provider, bool is_usable) {
  Lease& changed = lease(provider);
  if (changed.is_usable == is_usable) {
    return;
  }
  changed.is_usable = is_usable;
  if (is_usable) {
    free_granules_ += changed.allocator.free_granules();
  } else {
    free_granules_ -= changed.allocator.free_granules();
  }
}

bool Space::is_usable(unsigned provider) const {
  return has_lease(provider) && leases_[provider]->is_usable;
}

bool Space::has_usable_provider() const {
  return std::ranges::any_of(leases_, [](const auto& one) { return one && one->is_usable; });
}

bool Space::has_unusable_provider() const {
  return std::ranges::any_of(leases_, [](const auto& one) { return one && !one->is_usable; });
}

std::optional<Block> Space::allocate(unsigned order, std::uint32_t file_start, std::uint64_t slot) {
  if (free_granules_ >> order == 0) {
    return std::nullopt;
  }
  if (is_placement_stale_) {
    rebuild_placement();
  }
  const unsigned preferred = placement_.provider_for(file_start, slot);
  if (const auto block = allocate_from(preferred, order)) {
    return block;
  }
  const auto count = static_cast<unsigned>(leases_.size());
  const unsigned first = fallback_start(file_start + slot, count);
  for (unsigned step = 0; step < count; ++step) {
    if (const auto block = allocate_from((first + step) % count, order)) {
      return block;
    }
  }
  return std::nullopt;
}

std::optional<Block> Space::allocate_from(unsigned provider, unsigned order) {
  if (!is_usable(provider)) {
    return std::nullopt;
  }
  const auto run = leases_[provider]->allocator.allocate(order);
  if (!run) {
    return std::nullopt;
  }
  const Block block(provider, order, run->granule);
  free_granules_ -= block.granules();
  return block;
}

void Space::free(Block block) {
  Lease& owner = lease(block.provider());
  owner.allocator.free({block.granule(), block.order()});
  if (owner.is_usable) {
    free_granules_ += block.granules();
  }
}

bool Space::can_grow_in_place(Block block, unsigned new_order) const {
  const Lease& owner = lease(block.provider());
  return owner.is_usable &&
         owner.allocator.can_grow_in_place({block.granule(), block.order()}, new_order);
}

std::optional<Block> Space::grow_in_place(Block block, unsigned new_order) {
  Lease& owner = lease(block.provider());
  if (!owner.is_usable ||
      !owner.allocator.grow_in_place({block.granule(), block.order()}, new_order)) {
    return std::nullopt;
  }
  const Block grown(block.provider(), new_order, block.granule());
  free_granules_ -= grown.granules() - block.granules();
  return grown;
}

bool Space::reserve(std::uint64_t granules) {
  if (granules > free_granules()) {
    return false;
  }
  reserved_granules_ += granules;
  return true;
}

void Space::unreserve(std::uint64_t granules) {
  assert(granules <= reserved_granules_);
  reserved_granules_ -= granules;
}

Place Space::place_of(unsigned provider, std::uint64_t granule) const {
  const unsigned shift = lease(provider).region_shift;
  const std::uint64_t lease_offset = geometry_.granules_to_bytes(granule);
  return {provider, static_cast<std::uint32_t>(lease_offset >> shift),
          lease_offset & ((std::uint64_t{1} << shift) - 1)};
}

std::uint64_t Space::granule_of(const Place& place) const {
  const unsigned shift = lease(place.provider).region_shift;
  return geometry_.bytes_to_granules((std::uint64_t{place.region_index} << shift) +
                                     place.region_offset);
}

std::uint64_t Space::capacity_bytes(unsigned provider) const {
  return has_lease(provider)
             ? geometry_.granules_to_bytes(leases_[provider]->allocator.total_granules())
             : 0;
}

std::uint64_t Space::used_bytes(unsigned provider) const {
  if (!has_lease(provider)) {
    return 0;
  }
  const LeaseAllocator& allocator = leases_[provider]->allocator;
  return geometry_.granules_to_bytes(allocator.total_granules() - allocator.free_granules());
}

Space::Lease& Space::lease(unsigned provider) {
  assert(has_lease(provider));
  return *leases_[provider];
}

const Space::Lease& Space::lease(unsigned provider) const {
  assert(has_lease(provider));
  return *leases_[provider];
}

void Space::rebuild_placement() {
  std::vector<std::uint64_t> capacities_bytes;
  capacities_bytes.reserve(leases_.size());
  for (unsigned provider = 0; provider < leases_.size(); ++provider) {
    capacities_bytes.push_back(capacity_bytes(provider));
  }
  placement_ = Placement(capacities_bytes);
  is_placement_stale_ = false;
}

}  // namespace rram
