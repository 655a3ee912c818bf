#include "tests/mount/oracle.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace rram::exerciser {

namespace {

// Calls `visit(page, offset in page, length)` for each page that a range touches.
template <typename Visit>
void for_each_page(uint64_t offset, uint64_t length, Visit visit) {
  while (length > 0) {
    const uint64_t within = offset % FileContent::kPageBytes;
    const uint64_t count = std::min(length, FileContent::kPageBytes - within);
    visit(offset / FileContent::kPageBytes, within, count);
    offset += count;
    length -= count;
  }
}

}  // namespace

void FileContent::write(uint64_t offset, std::span<const std::byte> data) {
  if (data.empty()) return;
  size_bytes_ = std::max(size_bytes_, offset + data.size());
  for_each_page(offset, data.size(), [&](uint64_t page, uint64_t within, uint64_t count) {
    auto& slot = pages_[page];
    if (!slot) slot = std::make_unique<Page>();
    std::memcpy(slot->data() + within, data.data(), count);
    data = data.subspan(count);
  });
}

void FileContent::resize(uint64_t size_bytes) {
  if (size_bytes < size_bytes_) {
    const uint64_t first_whole = (size_bytes + kPageBytes - 1) / kPageBytes;
    zero(size_bytes, first_whole * kPageBytes - size_bytes);
    pages_.erase(pages_.lower_bound(first_whole), pages_.end());
  }
  size_bytes_ = size_bytes;
}

void FileContent::zero(uint64_t offset, uint64_t length) {
  for_each_page(offset, length, [&](uint64_t page, uint64_t within, uint64_t count) {
    const auto slot = pages_.find(page);
    if (slot == pages_.end()) return;
    if (count == kPageBytes) {
      pages_.erase(slot);
    } else {
      std::memset(slot->second->data() + within, 0, count);
    }
  });
}

void FileContent::read(uint64_t offset, std::span<std::byte> out) const {
  for_each_page(offset, out.size(), [&](uint64_t page, uint64_t within, uint64_t count) {
    const auto slot = pages_.find(page);
    if (slot == pages_.end()) {
      std::memset(out.data(), 0, count);
    } else {
      std::memcpy(out.data(), slot->second->data() + within, count);
    }
    out = out.subspan(count);
  });
}

std::vector<uint64_t> FileContent::page_offsets() const {
  std::vector<uint64_t> offsets;
  offsets.reserve(pages_.size());
  for (const auto& [page, bytes] : pages_) offsets.push_back(page * kPageBytes);
  return offsets;
}

const Node* Tree::find(std::string_view path) const {
  const auto found = nodes_.find(path);
  return found == nodes_.end() ? nullptr : &found->second;
}

void Tree::add(const std::string& path, Node node) { nodes_[path] = std::move(node); }

void Tree::remove(const std::string& path) { nodes_.erase(path); }

std::vector<std::pair<std::string, Node>> Tree::extract(const std::string& path) {
  std::vector<std::pair<std::string, Node>> taken;
  const std::string below = path + "/";
  for (auto node = nodes_.begin(); node != nodes_.end();) {
    if (node->first == path || node->first.starts_with(below)) {
      taken.emplace_back(node->first.substr(path.size()), std::move(node->second));
      node = nodes_.erase(node);
    } else {
      ++node;
    }
  }
  return taken;
}

void Tree::insert(const std::string& path, std::vector<std::pair<std::string, Node>> nodes) {
  for (auto& [rest, node] : nodes) nodes_[path + rest] = std::move(node);
}

void Tree::move(const std::string& from, const std::string& to) {
  auto taken = extract(from);
  extract(to);
  insert(to, std::move(taken));
}

void Tree::exchange(const std::string& a, const std::string& b) {
  auto nodes_of_a = extract(a);
  auto nodes_of_b = extract(b);
  insert(b, std::move(nodes_of_a));
  insert(a, std::move(nodes_of_b));
}

bool Tree::has_children(std::string_view path) const {
  const std::string below = std::string(path) + "/";
  const auto next = nodes_.lower_bound(below);
  return next != nodes_.end() && next->first.starts_with(below);
}

std::map<std::string, const Node*> Tree::list(std::string_view directory) const {
  const std::string prefix = directory.empty() ? std::string() : std::string(directory) + "/";
  std::map<std::string, const Node*> names;
  for (auto node = nodes_.lower_bound(prefix); node != nodes_.end(); ++node) {
    if (!node->first.starts_with(prefix)) break;
    const std::string name = node->first.substr(prefix.size());
    if (name.find('/') == std::string::npos) names[name] = &node->second;
  }
  return names;
}

std::vector<std::string> Tree::paths_of(NodeKind kind) const {
  std::vector<std::string> paths;
  for (const auto& [path, node] : nodes_) {
    if (node.kind == kind) paths.push_back(path);
  }
  return paths;
}

}  // namespace rram::exerciser
