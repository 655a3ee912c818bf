// How much memory this process may have.
#pragma once

#include <cstdint>
#include <string>

namespace rram {

// Where the kernel says so; a test has files of its own.
struct MemoryLimitFiles {
  std::string own_group = "/proc/self/cgroup";
  std::string groups = "/sys/fs/cgroup";  // where cgroup2 is mounted
};

// The smaller of what the host has and what a control group (version 2: memory.max) of this
// process, or one above it, lets it have.
std::uint64_t memory_limit_bytes(std::uint64_t host_bytes, const MemoryLimitFiles& files = {});

}  // namespace rram
