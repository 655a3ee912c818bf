// What a caller can see of a file, as text that is the same on every right file system: device and
// inode numbers, block counts and the size of a directory are left out.
#pragma once

#include <sys/stat.h>

#include <ctime>
#include <string>

namespace rram::differential {

// How times are told: a time that a call has set by hand as it is; one that the file system has set
// itself as "now", or, with a mark, as "new" or "old" by whether it is from behind the mark.
struct Clock {
  timespec started{};
  timespec mark{};
  bool has_mark = false;

  static Clock start();
  // Waits until the kernel's clock for time stamps has ticked, and marks that instant.
  void set_mark();
  [[nodiscard]] std::string text(const timespec& time) const;
};

std::string stat_text(const struct stat& status, const Clock& clock);
std::string look_at_path(const std::string& path, const Clock& clock);
std::string look_at_handle(int handle, const Clock& clock);

// Every name below the working directory with all that can be seen of it, a line each.
std::string look_at_tree(const Clock& clock);

// A number for the bytes.
std::uint64_t hash_of(const void* bytes, std::size_t size);

}  // namespace rram::differential
