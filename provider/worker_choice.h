// Which worker serves a new connection, as pure logic.
//
// A connection is best served on the CPU where its packets arrive: the worker is woken there
// without an interrupt to another CPU, and finds the data in the cache (tcp-data-path.md has the
// figures). But where one CPU takes the packets of all (a NIC with one queue), that worker would do
// everything and the others nothing; so it may be ahead of the least loaded one by a little only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace rram {

// How many lanes a worker may have more than the one with the fewest, to have them at their CPU.
inline constexpr std::uint32_t kMaxLanesAhead = 2;

// The index of the chosen worker. `lanes`: of every worker, not empty. `local`: the worker at the
// CPU where the packets arrive, if there is one. `turn`: any number that changes from call to call;
// among equals it decides.
std::size_t choose_worker(std::span<const std::uint32_t> lanes, std::optional<std::size_t> local,
                          std::size_t turn);

}  // namespace rram
