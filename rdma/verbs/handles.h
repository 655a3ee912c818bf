// Owners of the handles of librdmacm and libibverbs: the only place that destroys one.
#pragma once

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include <memory>

#include "base/result.h"

namespace rram {

namespace detail {
struct VerbsDeleter {
  void operator()(rdma_event_channel* channel) const { rdma_destroy_event_channel(channel); }
  // Every event of the id has been acknowledged, and its queue pair is gone.
  void operator()(rdma_cm_id* id) const { rdma_destroy_id(id); }
  void operator()(ibv_context** devices) const { rdma_free_devices(devices); }
  void operator()(ibv_mr* region) const { ibv_dereg_mr(region); }
  void operator()(ibv_comp_channel* channel) const { ibv_destroy_comp_channel(channel); }
  // Every event of the queue has been acknowledged.
  void operator()(ibv_cq* queue) const { ibv_destroy_cq(queue); }
};
// A protection domain keeps its device open. librdmacm closes a device that was removed as soon as
// no id is on it any more, and would take domains and registrations with it that are still known
// here.
struct ProtectionDomainDeleter {
  std::unique_ptr<ibv_context*, VerbsDeleter> device;  // a list of librdmacm with one entry
  void operator()(ibv_pd* domain) const { ibv_dealloc_pd(domain); }
};
// A queue pair that librdmacm made goes by the id that it was made on.
struct QueuePairDeleter {
  rdma_cm_id* maker = nullptr;  // null: made by ourselves
  void operator()(ibv_qp* queue_pair) const {
    if (maker != nullptr) {
      rdma_destroy_qp(maker);
    } else {
      ibv_destroy_qp(queue_pair);
    }
  }
};
}  // namespace detail

using UniqueCmChannel = std::unique_ptr<rdma_event_channel, detail::VerbsDeleter>;
using UniqueCmId = std::unique_ptr<rdma_cm_id, detail::VerbsDeleter>;
using UniqueProtectionDomain = std::unique_ptr<ibv_pd, detail::ProtectionDomainDeleter>;
// Scans the host's devices: not for the data path. kUnavailable: the device has gone.
Result<UniqueProtectionDomain> make_protection_domain(ibv_context& device);
using UniqueMemoryRegion = std::unique_ptr<ibv_mr, detail::VerbsDeleter>;
using UniqueCompletionChannel = std::unique_ptr<ibv_comp_channel, detail::VerbsDeleter>;
using UniqueCompletionQueue = std::unique_ptr<ibv_cq, detail::VerbsDeleter>;
using OwnedQueuePair = std::unique_ptr<ibv_qp, detail::QueuePairDeleter>;

}  // namespace rram
