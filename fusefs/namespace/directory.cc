#include "fusefs/namespace/directory.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <new>

#include "fusefs/heap_cost.h"
#include "fusefs/namespace/namespace_limits.h"

namespace rram {

std::size_t DirectoryEntry::size_bytes(std::size_t name_bytes) {
  constexpr std::size_t kInlineBytes = sizeof(first_name_bytes_);
  // Never less than the object itself, whose destructor and copies of the compiler may touch all.
  return sizeof(DirectoryEntry) - kInlineBytes + std::max(name_bytes, kInlineBytes);
}

DirectoryEntry::DirectoryEntry(std::string_view name, Inode& inode, std::uint64_t cookie)
    : inode_(&inode), cookie_(cookie), name_bytes_(static_cast<std::uint8_t>(name.size())) {
  char* destination = first_name_bytes_;
  std::copy(name.begin(), name.end(), destination);
}

DirectoryEntry* DirectoryEntry::make(std::string_view name, Inode& inode, std::uint64_t cookie) {
  assert(!name.empty() && name.size() <= kMaxEntryNameBytes);
  void* memory = ::operator new(size_bytes(name.size()));
  return new (memory) DirectoryEntry(name, inode, cookie);
}

void DirectoryEntry::destroy(DirectoryEntry* entry) {
  entry->~DirectoryEntry();
  ::operator delete(entry);
}

Directory::~Directory() {
  by_name_.clear();
  by_cookie_.clear_and_dispose(DirectoryEntry::destroy);
}

DirectoryEntry* Directory::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : *found;
}

void Directory::add(std::string_view name, Inode& inode) {
  DirectoryEntry* entry = DirectoryEntry::make(name, inode, next_cookie_);
  [[maybe_unused]] const bool is_new = by_name_.insert(entry).second;
  assert(is_new);
  by_cookie_.push_back(*entry);  // the newest cookie is the greatest
  ++next_cookie_;
  entry_bytes_ += heap_cost_bytes(DirectoryEntry::size_bytes(name.size()));
}

void Directory::remove(DirectoryEntry& entry) {
  entry_bytes_ -= heap_cost_bytes(DirectoryEntry::size_bytes(entry.name().size()));
  by_name_.erase(&entry);
  by_cookie_.erase(by_cookie_.iterator_to(entry));
  DirectoryEntry::destroy(&entry);
  shrink_if_sparse(by_name_);
}

void Directory::for_each_after(std::uint64_t after_cookie,
                               const std::function<bool(const DirectoryEntry&)>& visit) const {
  for (auto entry = by_cookie_.upper_bound(after_cookie); entry != by_cookie_.end(); ++entry) {
    if (!visit(*entry)) {
      return;
    }
  }
}

std::uint64_t Directory::memory_bytes() const { return entry_bytes_ + flat_table_bytes(by_name_); }

}  // namespace rram
