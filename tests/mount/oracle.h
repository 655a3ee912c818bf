#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rram::exerciser {

// The bytes that a file must hold, in memory. Sparse: a page that is absent holds zeros.
class FileContent {
 public:
  static constexpr uint64_t kPageBytes = 4096;

  uint64_t size_bytes() const { return size_bytes_; }
  uint64_t stored_bytes() const { return pages_.size() * kPageBytes; }

  // Writes and, where the data passes the end, grows the file.
  void write(uint64_t offset, std::span<const std::byte> data);
  // Cuts or grows with zeros.
  void resize(uint64_t size_bytes);
  // Makes a range read as zeros; the size stays.
  void zero(uint64_t offset, uint64_t length);
  // What `out.size()` bytes from `offset` are; beyond the end it gives zeros.
  void read(uint64_t offset, std::span<std::byte> out) const;
  // Byte offsets of the pages that were written, in rising order.
  std::vector<uint64_t> page_offsets() const;

 private:
  using Page = std::array<std::byte, kPageBytes>;

  uint64_t size_bytes_ = 0;
  std::map<uint64_t, std::unique_ptr<Page>> pages_;
};

// What an access list says besides the mode: one named user, and the owning group, whose bits in
// the mode are the mask then.
struct AccessList {
  uint32_t named_user = 0;
  uint32_t owning_group = 0;
};

struct FileModel {
  FileContent content;
  std::map<std::string, std::string> xattrs;
  std::optional<AccessList> acl;
  uint64_t links = 1;
  uint32_t mode = 0644;
  uint32_t uid = 0;
  uint32_t gid = 0;
  bool linkable = false;  // made without a name, and never had one: it may still get one
};

enum class NodeKind : uint8_t { kFile, kDirectory, kSymlink, kSpecial };

// A pipe, socket or device.
struct SpecialModel {
  uint32_t type = 0;  // S_IFIFO and the like
  uint64_t device = 0;
};

struct Node {
  NodeKind kind = NodeKind::kFile;
  std::shared_ptr<FileModel> file;  // only of files; hard links share it
  std::string target;               // only of symbolic links
  SpecialModel special = {};        // only of what is kSpecial
};

// The names that must exist below one directory, by path relative to it ("d1/f3").
// The root itself is the empty path and always exists. Moves are not checked here: the caller
// asks for what the file system accepted.
class Tree {
 public:
  const Node* find(std::string_view path) const;
  void add(const std::string& path, Node node);
  void remove(const std::string& path);
  // Moves a node with all below it; what stood at `to` is gone.
  void move(const std::string& from, const std::string& to);
  void exchange(const std::string& a, const std::string& b);

  bool has_children(std::string_view path) const;
  // Names of what stands directly in a directory, and their nodes, which the tree keeps.
  std::map<std::string, const Node*> list(std::string_view directory) const;
  std::vector<std::string> paths_of(NodeKind kind) const;
  const std::map<std::string, Node, std::less<>>& all() const { return nodes_; }

 private:
  // Takes out a node and all below it, with paths relative to it.
  std::vector<std::pair<std::string, Node>> extract(const std::string& path);
  void insert(const std::string& path, std::vector<std::pair<std::string, Node>> nodes);

  std::map<std::string, Node, std::less<>> nodes_;
};

}  // namespace rram::exerciser
