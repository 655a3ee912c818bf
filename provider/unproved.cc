#include "provider/unproved.h"

namespace rram {

UnprovedPlaces::Place UnprovedPlaces::take(const std::string& address) {
  {
    const std::lock_guard lock(counts_->mutex);
    std::uint32_t& count = counts_->by_address[address];
    if (count >= max_per_address_) return nullptr;
    ++count;
  }
  const auto give_back = [counts = counts_, address](const void* /*place*/) {
    const std::lock_guard lock(counts->mutex);
    const auto found = counts->by_address.find(address);
    if (--found->second == 0) counts->by_address.erase(found);
  };
  return Place{counts_.get(), give_back};
}

}  // namespace rram
