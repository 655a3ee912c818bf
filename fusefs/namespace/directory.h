// The entries of one directory: found by name in constant time, read in the order of their cookies.
#pragma once

#include <boost/intrusive/set.hpp>
#include <boost/unordered/unordered_flat_set.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

namespace rram {

struct Inode;

// Cookies number what a reader of a directory has seen. Those of entries only grow, so that a
// reader that stops and goes on later sees each entry that stayed exactly once, whatever came and
// went.
inline constexpr std::uint64_t kDotCookie = 1;
inline constexpr std::uint64_t kDotDotCookie = 2;
inline constexpr std::uint64_t kFirstEntryCookie = 3;

// One name. Made and destroyed by its Directory only: the name stands behind the object, in the
// same allocation.
class DirectoryEntry : public boost::intrusive::set_base_hook<
                           boost::intrusive::link_mode<boost::intrusive::normal_link>,
                           boost::intrusive::optimize_size<true>> {
 public:
  DirectoryEntry(const DirectoryEntry&) = delete;
  DirectoryEntry& operator=(const DirectoryEntry&) = delete;

  std::string_view name() const { return {first_name_bytes_, name_bytes_}; }
  std::uint64_t cookie() const { return cookie_; }
  Inode& inode() const { return *inode_; }
  // The name and the cookie stay: a reader sees the name once, before or after.
  void set_inode(Inode& inode) { inode_ = &inode; }

 private:
  friend class Directory;

  static DirectoryEntry* make(std::string_view name, Inode& inode, std::uint64_t cookie);
  static void destroy(DirectoryEntry* entry);
  static std::size_t size_bytes(std::size_t name_bytes);

  DirectoryEntry(std::string_view name, Inode& inode, std::uint64_t cookie);
  ~DirectoryEntry() = default;

  Inode* inode_;
  std::uint64_t cookie_;
  std::uint8_t name_bytes_;
  // The name begins in what would be padding and goes on past the end of the object.
  char first_name_bytes_[7];
};

// The body of one directory inode, which owns it; it owns its entries but not the inodes they name.
// Not thread-safe. Knows no rule of POSIX; those are the namespace's.
class Directory {
 public:
  // `parent` is what ".." means; a root is its own parent.
  explicit Directory(Inode* parent) : parent_(parent) {}
  ~Directory();
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  // nullptr once the directory has been removed from the tree.
  Inode* parent() const { return parent_; }
  void set_parent(Inode* parent) { parent_ = parent; }

  std::size_t size() const { return by_name_.size(); }
  bool empty() const { return by_name_.empty(); }

  // nullptr if there is none. Entries keep their address until they are removed.
  DirectoryEntry* find(std::string_view name) const;

  // Precondition: no entry has that name; 1 .. 255 bytes.
  void add(std::string_view name, Inode& inode);

  // Precondition: `entry` is of this directory. It is gone afterwards.
  void remove(DirectoryEntry& entry);

  // Calls `visit` with the entries whose cookie is greater than `after_cookie`, in the order of
  // cookies, until it answers false. `visit` must not change the directory.
  void for_each_after(std::uint64_t after_cookie,
                      const std::function<bool(const DirectoryEntry&)>& visit) const;

  // An estimate of the heap that the entries and tables take, this object not included.
  std::uint64_t memory_bytes() const;

 private:
  struct CookieOf {
    using type = std::uint64_t;
    std::uint64_t operator()(const DirectoryEntry& entry) const { return entry.cookie(); }
  };
  struct NameHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view name) const {
      return std::hash<std::string_view>{}(name);
    }
    std::size_t operator()(const DirectoryEntry* entry) const { return (*this)(entry->name()); }
  };
  struct NameEqual {
    using is_transparent = void;
    bool operator()(const DirectoryEntry* a, const DirectoryEntry* b) const {
      return a->name() == b->name();
    }
    bool operator()(std::string_view a, const DirectoryEntry* b) const { return a == b->name(); }
    bool operator()(const DirectoryEntry* a, std::string_view b) const { return a->name() == b; }
  };

  Inode* parent_;
  std::uint64_t next_cookie_ = kFirstEntryCookie;
  std::uint64_t entry_bytes_ = 0;  // heap taken by the entries
  boost::unordered_flat_set<DirectoryEntry*, NameHash, NameEqual> by_name_;
  boost::intrusive::set<DirectoryEntry, boost::intrusive::key_of_value<CookieOf>> by_cookie_;
};

}  // namespace rram
