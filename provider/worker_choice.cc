#include "provider/worker_choice.h"

namespace rram {

std::size_t choose_worker(std::span<const std::uint32_t> lanes, std::optional<std::size_t> local,
                          std::size_t turn) {
  std::size_t fewest = turn % lanes.size();
  for (std::size_t i = 1; i < lanes.size(); ++i) {
    const std::size_t other = (turn + i) % lanes.size();
    if (lanes[other] < lanes[fewest]) fewest = other;
  }
  if (local && lanes[*local] - lanes[fewest] <= kMaxLanesAhead) return *local;
  return fewest;
}

}  // namespace rram
