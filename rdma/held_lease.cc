#include "rdma/held_lease.h"

namespace rram {

std::uint64_t HeldLease::size_bytes() const {
  return regions().empty() ? 0 : regions().size() * regions().front().length_bytes;
}

}  // namespace rram
