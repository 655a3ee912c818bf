#include "fusefs/layout/slot_map.h"

#include <cassert>

#include "fusefs/heap_cost.h"

namespace rram {

const Slot* SlotMap::find(std::uint64_t slot) const {
  if (slot == 0) {
    return first_.block.is_none() ? nullptr : &first_;
  }
  if (!rest_) {
    return nullptr;
  }
  const auto page = rest_->pages.find(page_of(slot));
  if (page == rest_->pages.end()) {
    return nullptr;
  }
  const Leaf* leaf = page->second.find(leaf_in_page(slot));
  return leaf == nullptr ? nullptr : leaf->find(slot_in_leaf(slot));
}

Slot& SlotMap::obtain(std::uint64_t slot, Block block) {
  if (Slot* found = find(slot)) {
    return *found;
  }
  if (slot == 0) {
    first_ = {block, 0};
    return first_;
  }
  std::uint64_t& buffer_bytes = rest().buffer_bytes;
  Page& page = rest_->pages[page_of(slot)];
  Leaf* leaf = page.find(leaf_in_page(slot));
  if (leaf == nullptr) {
    const MemoryCount count(buffer_bytes, page);
    leaf = &page.insert(leaf_in_page(slot), Leaf());
  }
  const MemoryCount count(buffer_bytes, *leaf);
  return leaf->insert(slot_in_leaf(slot), Slot{block, 0});
}

void SlotMap::erase(std::uint64_t slot) {
  assert(find(slot) != nullptr);
  if (slot == 0) {
    first_ = {};
  } else {
    erase_from_page(slot);
  }
  if (!rest_) {
    return;
  }
  rest_->splits.erase(slot);
  if (rest_->pages.empty() && rest_->splits.empty()) {
    rest_.reset();
  }
}

void SlotMap::erase_from_page(std::uint64_t slot) {
  const auto found = rest_->pages.find(page_of(slot));
  Page& page = found->second;
  Leaf& leaf = *page.find(leaf_in_page(slot));
  {
    const MemoryCount count(rest_->buffer_bytes, leaf);
    leaf.erase(slot_in_leaf(slot));
  }
  if (leaf.empty()) {
    const MemoryCount count(rest_->buffer_bytes, page);
    page.erase(leaf_in_page(slot));
  }
  if (page.empty()) {
    rest_->pages.erase(found);
  }
}

SplitGranules& SlotMap::split(std::uint64_t slot) {
  Slot& entry = obtain(slot, Block::split_mark());
  std::unique_ptr<SplitGranules>& granules = rest().splits[slot];
  assert(granules == nullptr);
  granules = std::make_unique<SplitGranules>();
  if (!entry.is_split()) {
    for (unsigned g = 0; g < entry.block.granules(); ++g) {
      (*granules)[g] = entry.block.single(g);
    }
    entry.block = Block::split_mark();
  }
  return *granules;
}

const SplitGranules* SlotMap::find_split(std::uint64_t slot) const {
  if (!rest_) {
    return nullptr;
  }
  const auto it = rest_->splits.find(slot);
  return it == rest_->splits.end() ? nullptr : it->second.get();
}

std::optional<std::uint64_t> SlotMap::next_used(std::uint64_t from) const {
  if (from == 0 && !first_.block.is_none()) {
    return 0;
  }
  if (!rest_) {
    return std::nullopt;
  }
  auto& pages = rest_->pages;
  for (auto it = pages.lower_bound(page_of(from)); it != pages.end(); ++it) {
    const std::uint64_t base = it->first * kPageSlots;
    if (const auto slot = next_used(from > base ? from - base : 0, it->second)) {
      return base + *slot;
    }
  }
  return std::nullopt;
}

// The same in one page, counted from its start.
std::optional<std::uint64_t> SlotMap::next_used(std::uint64_t from, const Page& page) {
  const unsigned first_leaf = leaf_in_page(from);
  std::uint64_t leaves = page.present() & granule_mask(first_leaf, kFanOut);
  for (; leaves != 0; leaves &= leaves - 1) {
    const auto index = static_cast<unsigned>(std::countr_zero(leaves));
    const unsigned first_slot = index == first_leaf ? slot_in_leaf(from) : 0;
    const std::uint64_t slots = page.find(index)->present() & granule_mask(first_slot, kFanOut);
    if (slots != 0) {
      return std::uint64_t{index} * kFanOut + static_cast<unsigned>(std::countr_zero(slots));
    }
  }
  return std::nullopt;
}

std::uint64_t SlotMap::memory_bytes() const {
  if (!rest_) {
    return 0;
  }
  constexpr std::size_t kTreeLinkBytes = 3 * sizeof(void*);
  using PageNode = std::pair<const std::uint64_t, Page>;
  return heap_cost_bytes(sizeof(Rest)) + rest_->buffer_bytes +
         rest_->pages.size() * heap_cost_bytes(kTreeLinkBytes + sizeof(PageNode)) +
         rest_->splits.size() * heap_cost_bytes(sizeof(SplitGranules)) +
         flat_table_bytes(rest_->splits);
}

SlotMap::Rest& SlotMap::rest() {
  if (!rest_) {
    rest_ = std::make_unique<Rest>();
  }
  return *rest_;
}

}  // namespace rram
