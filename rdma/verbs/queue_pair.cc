#include "rdma/verbs/queue_pair.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <utility>

namespace rram {

namespace {

// How long a failed queue pair may take to hand back what was posted. After that it is destroyed
// all the same, which ends every access of the device too.
constexpr std::uint64_t kDrainLimitNs = 100'000'000;

Status make_completion_queue(ibv_context* device, unsigned entries,
                             UniqueCompletionChannel& channel, UniqueCompletionQueue& queue) {
  channel.reset(ibv_create_comp_channel(device));
  if (!channel) return fail_errno(errno, "cannot make an RDMA completion channel");
  const int flags = ::fcntl(channel->fd, F_GETFL);
  if (flags < 0 || ::fcntl(channel->fd, F_SETFL, flags | O_NONBLOCK) != 0) {
    return fail_errno(errno, "cannot make an RDMA completion channel non-blocking");
  }
  queue.reset(ibv_create_cq(device, static_cast<int>(entries), nullptr, channel.get(), 0));
  if (!queue) {
    return fail_errno(errno,
                      fmt::format("cannot make an RDMA completion queue of {} entries", entries));
  }
  if (const int rc = ibv_req_notify_cq(queue.get(), 0); rc != 0) {
    return fail_errno(rc, "cannot ask for RDMA completion events");
  }
  return {};
}

}  // namespace

Error work_failure(ibv_wc_status status) {
  // Without an answer the peer may be there still: the network between may be what is broken.
  const bool is_silent = status == IBV_WC_RETRY_EXC_ERR || status == IBV_WC_RNR_RETRY_EXC_ERR ||
                         status == IBV_WC_RESP_TIMEOUT_ERR;
  return {is_silent ? ErrorCode::kTimedOut : ErrorCode::kDisconnected,
          fmt::format("the RDMA connection failed: {}", ibv_wc_status_str(status))};
}

Result<std::unique_ptr<QueuePair>> QueuePair::create(CmEndpoint& endpoint, ibv_pd& domain,
                                                     const Options& options) {
  ibv_context* device = endpoint.id()->verbs;
  ibv_device_attr limits{};
  if (const int rc = ibv_query_device(device, &limits); rc != 0) {
    return fail_errno(rc, "cannot ask the RDMA device for its limits");
  }
  const auto most = static_cast<unsigned>(limits.max_qp_wr);
  std::unique_ptr<QueuePair> made(new QueuePair(endpoint));
  const unsigned sends = std::min(options.send_entries, most);
  const unsigned receives = std::min(options.receive_entries, most);
  Status status =
      make_completion_queue(device, sends + receives, made->channel_, made->completions_);
  if (!status) return std::unexpected(status.error());
  ibv_qp_init_attr wanted{};
  wanted.qp_type = IBV_QPT_RC;
  wanted.send_cq = made->completions_.get();
  wanted.recv_cq = made->completions_.get();
  wanted.cap.max_send_wr = sends;
  wanted.cap.max_recv_wr = receives;
  wanted.cap.max_send_sge = 1;
  wanted.cap.max_recv_sge = 1;
  wanted.cap.max_inline_data = options.inline_bytes;
  status = made->make(domain, options, wanted);
  if (!status) return std::unexpected(status.error());
  made->send_entries_ = sends;
  made->inline_bytes_ = wanted.cap.max_inline_data;
  made->watch();
  return made;
}

Status QueuePair::make(ibv_pd& domain, const Options& options, ibv_qp_init_attr& wanted) {
  for (const unsigned inline_bytes : {options.inline_bytes, 0U}) {
    wanted.cap.max_inline_data = inline_bytes;
    if (options.is_guarded) {
      owned_ = OwnedQueuePair(ibv_create_qp(&domain, &wanted), {});
    } else if (rdma_create_qp(id_, &domain, &wanted) == 0) {
      owned_ = OwnedQueuePair(id_->qp, {id_});
    }
    if (owned_) break;
  }
  if (!owned_) {
    return fail_errno(errno, fmt::format("cannot make an RDMA queue pair of {} + {} entries on {}",
                                         wanted.cap.max_send_wr, wanted.cap.max_recv_wr,
                                         ibv_get_device_name(id_->verbs->device)));
  }
  if (!options.is_guarded) return {};
  Status advanced = advance(IBV_QPS_INIT, 0, 0);
  // A requester that has given up meanwhile makes this fail.
  if (!advanced) owned_.reset();
  return advanced;
}

// The next state of a guarded queue pair, as the connection manager would have it, but without
// rights.
Status QueuePair::advance(ibv_qp_state state, std::uint8_t responder_resources,
                          std::uint8_t initiator_depth) {
  // Bits of a newer kernel that this library does not know.
  constexpr int kKnownBits = (1 << 21) - 1;
  ibv_qp_attr attributes{};
  attributes.qp_state = state;
  int mask = 0;
  if (rdma_init_qp_attr(id_, &attributes, &mask) != 0) {
    return fail_errno(errno, "cannot prepare an RDMA queue pair");
  }
  attributes.qp_access_flags = 0;
  if (state == IBV_QPS_RTR) attributes.max_dest_rd_atomic = responder_resources;
  if (state == IBV_QPS_RTS) attributes.max_rd_atomic = initiator_depth;
  const int rc = ibv_modify_qp(owned_.get(), &attributes, mask & kKnownBits);
  if (rc != 0) return fail_errno(rc, "cannot connect an RDMA queue pair");
  return {};
}

Status QueuePair::accept(std::uint8_t responder_resources, std::uint8_t initiator_depth) {
  for (const ibv_qp_state state : {IBV_QPS_RTR, IBV_QPS_RTS}) {
    const Status advanced = advance(state, responder_resources, initiator_depth);
    if (!advanced) return advanced;
  }
  rdma_conn_param param{};
  param.responder_resources = responder_resources;
  param.initiator_depth = initiator_depth;
  param.rnr_retry_count = 7;
  param.qp_num = owned_->qp_num;
  if (rdma_accept(id_, &param) != 0) return fail_errno(errno, "cannot accept an RDMA connection");
  return {};
}

Status QueuePair::allow_remote_access() {
  if (is_failed_) return rram::fail(ErrorCode::kDisconnected, "the RDMA connection has ended");
  ibv_qp_attr attributes{};
  attributes.qp_access_flags = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;
  const int rc = ibv_modify_qp(owned_.get(), &attributes, IBV_QP_ACCESS_FLAGS);
  if (rc != 0) return fail_errno(rc, "cannot give rights to an RDMA queue pair");
  return {};
}

QueuePair::~QueuePair() {
  assert(!is_watched_ && !owned_);
  loop_.forget(*this);
}

// ---- posting -----------------------------------------------------------------------------------

void QueuePair::add_send(ibv_send_wr request, ibv_sge memory, WorkTarget& target,
                         std::uint64_t cookie) {
  assert(free_send_entries() > 0);
  request.wr_id = sends_.first_number + sends_.size();
  request.num_sge = memory.length > 0 ? 1 : 0;
  if (request.wr_id % kSignalInterval == 0) request.send_flags |= IBV_SEND_SIGNALED;
  sends_.posted.push_back({&target, {.cookie = cookie}});
  batch_.push_back(request);
  batch_memory_.push_back(memory);
}

void QueuePair::submit() {
  if (batch_.empty()) return;
  if (is_failed_) {
    if (owned_) return;  // in the middle of fail(), which ends these too
    batch_.clear();
    batch_memory_.clear();
    return abandon(sends_);
  }
  for (std::size_t i = 0; i < batch_.size(); ++i) {
    batch_[i].sg_list = &batch_memory_[i];
    batch_[i].next = i + 1 < batch_.size() ? &batch_[i + 1] : nullptr;
  }
  batch_.back().send_flags |= IBV_SEND_SIGNALED;
  ibv_send_wr* refused = nullptr;
  const int rc = ibv_post_send(owned_.get(), batch_.data(), &refused);
  // What was refused, and all behind it, stays: the device does not have it.
  std::size_t taken = batch_.size();
  if (rc != 0) taken = refused == nullptr ? 0 : static_cast<std::size_t>(refused - batch_.data());
  batch_.erase(batch_.begin(), batch_.begin() + static_cast<std::ptrdiff_t>(taken));
  batch_memory_.clear();
  if (rc != 0) return report_failure(IBV_WC_GENERAL_ERR);
  loop_.expect(*this);
}

void QueuePair::post_receive(ibv_sge memory, WorkTarget& target, std::uint64_t cookie) {
  ibv_recv_wr request{};
  request.wr_id = kReceiveBit | (receives_.first_number + receives_.size());
  request.sg_list = &memory;
  request.num_sge = 1;
  receives_.posted.push_back({&target, {.cookie = cookie}});
  if (is_failed_) return abandon(receives_);
  ibv_recv_wr* refused = nullptr;
  if (ibv_post_recv(owned_.get(), &request, &refused) != 0) report_failure(IBV_WC_GENERAL_ERR);
}

// ---- completions -------------------------------------------------------------------------------

void QueuePair::watch() {
  is_watched_ = true;
  loop_.submit_with(&watch_, [this](io_uring_sqe* entry) {
    io_uring_prep_poll_add(entry, channel_->fd, POLLIN);
  });
}

void QueuePair::Watch::on_completion(std::int32_t /*result*/, std::uint32_t /*flags*/) {
  queue_pair_.is_watched_ = false;
  if (queue_pair_.is_closing_) return queue_pair_.closed_notice_.give();
  queue_pair_.watch();
  queue_pair_.take_event();
}

void QueuePair::take_event() {
  ibv_cq* queue = nullptr;
  void* context = nullptr;
  unsigned events = 0;
  while (ibv_get_cq_event(channel_.get(), &queue, &context) == 0) ++events;
  if (events == 0) return;
  ibv_ack_cq_events(completions_.get(), events);
  if (is_failed_) return;
  is_armed_ = false;
  loop_.arm_later(*this);
  poll();
}

bool QueuePair::poll() {
  if (is_failed_) return false;
  const std::uint64_t before = dispatched_;
  const ibv_wc_status status = take_completions();
  if (status != IBV_WC_SUCCESS) report_failure(status);
  return dispatched_ != before;
}

// Asked for first, looked for afterwards: what comes between is not missed.
bool QueuePair::arm() {
  if (is_failed_ || std::exchange(is_armed_, true)) return false;
  ibv_req_notify_cq(completions_.get(), 0);
  return poll();
}

ibv_wc_status QueuePair::take_completions() {
  ibv_wc_status first_bad = IBV_WC_SUCCESS;
  for (unsigned taken = 0; taken < kMaxTakenAtOnce; ++taken) {
    if (taken_next_ == taken_count_) {
      const int count =
          ibv_poll_cq(completions_.get(), static_cast<int>(taken_.size()), taken_.data());
      if (count < 0) return IBV_WC_FATAL_ERR;
      if (count == 0) return first_bad;
      taken_count_ = static_cast<std::size_t>(count);
      taken_next_ = 0;
    }
    const ibv_wc completion = taken_[taken_next_++];
    if (first_bad == IBV_WC_SUCCESS) first_bad = completion.status;
    dispatch(completion);
  }
  // There may be more, for which no event will come: the loop looks again before it sleeps.
  is_armed_ = false;
  loop_.arm_later(*this);
  return first_bad;
}

void QueuePair::dispatch(const ibv_wc& completion) {
  ++dispatched_;
  if ((completion.wr_id & kReceiveBit) != 0) {
    finish(receives_, completion.wr_id & ~kReceiveBit, completion);
  } else {
    finish(sends_, completion.wr_id, completion);
  }
}

// Work completes in order: everything before `number` has succeeded without a word.
void QueuePair::finish(Fifo& fifo, std::uint64_t number, const ibv_wc& completion) {
  if (number >= fifo.first_number && number - fifo.first_number < fifo.size()) {
    // Noted first: a target may call back into this object, which then goes on with the queue.
    WorkResult& result = fifo.posted[number - fifo.first_number].result;
    result.status = completion.status;
    result.received_bytes = completion.byte_len;
    if ((completion.wc_flags & IBV_WC_WITH_IMM) != 0) result.immediate = completion.imm_data;
  }
  while (!fifo.posted.empty() && fifo.first_number <= number) {
    const Posted done = fifo.posted.front();
    fifo.posted.pop_front();
    ++fifo.first_number;
    done.target->on_work_done(done.result);
  }
}

// ---- failing and closing -----------------------------------------------------------------------

void QueuePair::report_failure(ibv_wc_status status) {
  if (is_failed_) return;
  fail();
  if (on_failed_) on_failed_(status);
}

void QueuePair::fail() {
  if (std::exchange(is_failed_, true)) return;
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_ERR;
  // A device that does not even take this will not hand anything back.
  const bool will_flush = ibv_modify_qp(owned_.get(), &attributes, IBV_QP_STATE) == 0;
  const std::uint64_t limit_ns = monotonic_ns() + kDrainLimitNs;
  while (will_flush && sends_.size() > batch_.size() && monotonic_ns() < limit_ns) {
    take_completions();
  }
  owned_.reset();
  batch_.clear();
  batch_memory_.clear();
  abandon(sends_);
  abandon(receives_);
}

void QueuePair::abandon(Fifo& fifo) {
  while (!fifo.posted.empty()) {
    Posted cut = fifo.posted.front();
    fifo.posted.pop_front();
    ++fifo.first_number;
    cut.result.status = IBV_WC_WR_FLUSH_ERR;
    cut.target->on_work_done(cut.result);
  }
}

Task<> QueuePair::close() {
  fail();
  if (std::exchange(is_closing_, true) || !is_watched_) co_return;
  loop_.cancel(watch_);
  [[maybe_unused]] const bool is_closed = co_await closed_notice_.wait();
}

}  // namespace rram
