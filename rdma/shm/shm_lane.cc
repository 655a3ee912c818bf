#include "rdma/shm/shm_lane.h"

#include <utility>

#include "rdma/copy_operation.h"

namespace rram {

ShmLane::ShmLane(EventLoop& loop, std::shared_ptr<const SegmentMap> segments,
                 std::shared_ptr<ProviderLife> life)
    : Lane(loop), segments_(std::move(segments)), life_(std::move(life)) {
  life_->tell(*this, loop);
}

ShmLane::~ShmLane() { life_->forget(*this); }

void ShmLane::do_submit(Operation& operation) {
  if (life_->is_over()) {
    mark_broken(life_->reason());
    return complete(operation, ErrorCode::kDisconnected);
  }
  const std::span<std::byte> remote = segments_->region(operation.region->index)
                                          .subspan(operation.offset_bytes, operation.local.size());
  copy_operation(operation, remote);
  if (!life_->is_confirmed()) {
    mark_broken(Error{ErrorCode::kDisconnected,
                      "this host has not heard from the provider for so long that the provider may "
                      "have taken its memory back"});
    return complete(operation, ErrorCode::kDisconnected);
  }
  complete(operation, std::nullopt);
}

void ShmLane::on_provider_gone(const Error& reason) { mark_broken(reason); }

Task<> ShmLane::close() {
  set_on_broken(nullptr);
  mark_broken(Error{ErrorCode::kCancelled, "the lane was closed"});
  co_return;
}

}  // namespace rram
