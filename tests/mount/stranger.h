#pragma once

#include <unistd.h>

#include <cstdint>

namespace rram::exerciser {

constexpr uint32_t kStranger = 1001;  // user and group

// Only root can act as others.
inline bool is_root() { return geteuid() == 0; }

// Everything in its scope, in this thread, is done by a user without privileges.
class AsStranger {
 public:
  AsStranger();
  ~AsStranger();
  AsStranger(const AsStranger&) = delete;
  AsStranger& operator=(const AsStranger&) = delete;
};

// What a change of owner, or a write by a stranger, leaves of a mode.
uint32_t without_set_ids(uint32_t mode);

}  // namespace rram::exerciser
