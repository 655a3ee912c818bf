#include "fusefs/layout/slot_map.h"

#include <cassert>

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
  Page& page = rest().pages[page_of(slot)];
  Leaf* leaf = page.find(leaf_in_page(slot));
  if (leaf == nullptr) {
    leaf = &page.insert(leaf_in_page(slot), Leaf());
  }
  return leaf->insert(slot_in_leaf(slot), Slot{block, 0});
}

void SlotMap::erase(std::uint64_t slot) {
  assert(find(slot) != nullptr);
  if (rest_) {
    rest_->splits.erase(slot);
  }
  if (slot == 0) {
    first_ = {};
    return;
  }
  const auto page = rest_->pages.find(page_of(slot));
  Leaf& leaf = *page->second.find(leaf_in_page(slot));
  leaf.erase(slot_in_leaf(slot));
  if (leaf.empty()) {
    page->second.erase(leaf_in_page(slot));
  }
  if (page->second.empty()) {
    rest_->pages.erase(page);
  }
}

void SlotMap::erase_from(std::uint64_t first_slot) {
  if (first_slot == 0) {
    first_ = {};
    rest_.reset();
    return;
  }
  if (!rest_) {
    return;
  }
  erase_splits_from(first_slot);
  auto& pages = rest_->pages;
  auto it = pages.lower_bound(page_of(first_slot));
  if (it != pages.end() && it->first == page_of(first_slot)) {
    erase_from(first_slot, it->second);
    if (!it->second.empty()) {
      ++it;
    }
  }
  pages.erase(it, pages.end());
  if (pages.empty() && rest_->splits.empty()) {
    rest_.reset();
  }
}

// The page holds first_slot.
void SlotMap::erase_from(std::uint64_t first_slot, Page& page) {
  const unsigned first_leaf = leaf_in_page(first_slot);
  if (first_leaf + 1 < kFanOut) {
    page.erase_from(first_leaf + 1);
  }
  if (Leaf* leaf = page.find(first_leaf)) {
    leaf->erase_from(slot_in_leaf(first_slot));
    if (leaf->empty()) {
      page.erase(first_leaf);
    }
  }
}

void SlotMap::erase_splits_from(std::uint64_t first_slot) {
  boost::unordered::erase_if(rest_->splits,
                             [&](const auto& entry) { return entry.first >= first_slot; });
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

SlotMap::Rest& SlotMap::rest() {
  if (!rest_) {
    rest_ = std::make_unique<Rest>();
  }
  return *rest_;
}

}  // namespace rram
