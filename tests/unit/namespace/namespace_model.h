// The rules of the namespace once more, written to be seen to be right and not to be fast: link
// counts are counted, parents are searched for, and what has no name is found by looking at all.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "fusefs/namespace/namespace_limits.h"
#include "fusefs/namespace/record.h"

namespace rram {

class NamespaceModel {
 public:
  struct Entry {
    std::uint64_t cookie;
    std::string name;
    Ino ino;
  };
  struct Node {
    Attributes stored;  // nlink is not kept but counted
    std::string target;
    std::vector<Entry> entries;  // in the order of their making
    std::uint64_t next_cookie = 3;
    std::map<std::string, std::string> xattrs;
    std::uint64_t lookups = 0;
    std::uint64_t opens = 0;
    bool awaits_name = false;  // made without one; a link may give it
  };
  struct Answer {
    std::optional<ErrorCode> error;
    Attributes attributes;
    std::set<Ino> destroyed;
  };

  NamespaceModel(const NamespaceLimits& limits, std::uint64_t generation);

  Answer apply(const Record& record);

  bool add_lookup(Ino ino, std::uint64_t count);
  bool open(Ino ino);
  std::set<Ino> forget(Ino ino, std::uint64_t count);
  std::set<Ino> close(Ino ino);
  std::set<Ino> drop_all_references();

  const std::map<Ino, Node>& nodes() const { return nodes_; }
  Attributes attributes(Ino ino) const;
  // The directory that has an entry for `ino`; the root for the root.
  Ino parent_of(Ino directory) const;
  bool is_dead(Ino directory) const;

 private:
  using Error = std::optional<ErrorCode>;

  std::uint32_t count_links(Ino ino) const;
  bool is_directory(Ino ino) const;
  bool contains(Ino directory, Ino searched) const;
  Entry* find(Ino directory, const std::string& name);
  void erase(Ino directory, const std::string& name);
  void append(Ino directory, const std::string& name, Ino ino);
  void changed(Ino ino, const Timestamp& at);
  std::set<Ino> collect();

  Error bad_directory(Ino ino) const;
  Error bad_name(const std::string& name) const;
  Error bad_place(Ino directory, const std::string& name) const;
  Error bad_xattr_name(const std::string& name) const;
  Error bad_size(Ino ino, std::uint64_t size_bytes) const;
  bool would_have_too_many_links(Ino directory) const;

  // Each changes the tree and sets `subject`, or answers why not.
  Error change(const Create& create, Ino& subject);
  Error change(const CreateUnnamed& create, Ino& subject);
  Error change(const Link& link, Ino& subject);
  Error change(const Unlink& unlink, Ino& subject);
  Error change(const RemoveDirectory& remove, Ino& subject);
  Error change(const Rename& rename, Ino& subject);
  Error change(const SetAttributes& set, Ino& subject);
  Error change(const Extend& extend, Ino& subject);
  Error change(const Touch& touch, Ino& subject);
  Error change(const SetXattr& set, Ino& subject);
  Error change(const RemoveXattr& remove, Ino& subject);

  NamespaceLimits limits_;
  std::uint64_t generation_;
  Ino last_ino_ = 1;
  std::map<Ino, Node> nodes_;
};

}  // namespace rram
