// What memory this host has, as the kernel tells it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "provider/pool_plan.h"

namespace rram {

// Bytes of a line such as "MemAvailable:   24274488 kB" in the text of /proc/meminfo. Pure.
std::optional<std::uint64_t> meminfo_bytes(std::string_view meminfo, std::string_view field);

// Whether the text of /sys/kernel/mm/transparent_hugepage/shmem_enabled means that a memfd gets
// huge pages where it asks for them. Pure.
bool makes_huge_pages(std::string_view shmem_enabled);

// Figures from the text of /proc/meminfo. Pure. kUnavailable if it lacks MemTotal or MemAvailable.
Result<HostMemory> parse_meminfo(std::string_view meminfo);

// The same for this host, and no more than its control groups (version 2) leave to this process.
Result<HostMemory> read_host_memory();

}  // namespace rram
