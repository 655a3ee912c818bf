#include "rdma/local/local_lane.h"

#include "rdma/copy_operation.h"

namespace rram {

void LocalLane::do_submit(Operation& operation) {
  if (memory_.empty()) return complete(operation, std::nullopt);
  const RemoteRegion& region = *operation.region;
  const std::span<std::byte> remote = memory_.subspan(
      region.index * region.length_bytes + operation.offset_bytes, operation.local.size());
  copy_operation(operation, remote);
  complete(operation, std::nullopt);
}

Task<> LocalLane::close() {
  set_on_broken(nullptr);
  mark_broken(Error{ErrorCode::kCancelled, "the lane was closed"});
  co_return;
}

}  // namespace rram
