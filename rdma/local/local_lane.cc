#include "rdma/local/local_lane.h"

#include <cstring>

namespace rram {

void LocalLane::do_submit(Operation& operation) {
  if (memory_.empty()) return complete(operation, std::nullopt);
  const RemoteRegion& region = *operation.region;
  const std::span<std::byte> remote = memory_.subspan(
      region.index * region.length_bytes + operation.offset_bytes, operation.local.size());
  if (operation.kind == Operation::Kind::kRead) {
    std::memcpy(operation.local.data(), remote.data(), remote.size());
  } else {
    std::memcpy(remote.data(), operation.local.data(), remote.size());
  }
  complete(operation, std::nullopt);
}

Task<> LocalLane::close() {
  set_on_broken(nullptr);
  mark_broken(Error{ErrorCode::kCancelled, "the lane was closed"});
  co_return;
}

}  // namespace rram
