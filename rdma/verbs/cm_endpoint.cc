#include "rdma/verbs/cm_endpoint.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace rram {

namespace {

CmEvent copy_of(const rdma_cm_event& event) {
  CmEvent copy;
  copy.type = event.event;
  copy.status = event.status;
  copy.id = event.id;
  const rdma_conn_param& param = event.param.conn;
  copy.responder_resources = param.responder_resources;
  copy.initiator_depth = param.initiator_depth;
  if (param.private_data != nullptr && param.private_data_len > 0) {
    const auto* data = static_cast<const std::byte*>(param.private_data);
    copy.private_data.assign(data, data + param.private_data_len);
  }
  return copy;
}

}  // namespace

std::string no_rdma_text(int errno_value) {
  return fmt::format(
      "this host has no RDMA ({}): it needs an RDMA NIC, or soft-RoCE, and the kernel module "
      "rdma_ucm",
      std::strerror(errno_value));
}

Result<UniqueCmChannel> make_cm_channel() {
  UniqueCmChannel channel(rdma_create_event_channel());
  if (!channel) {
    return fail(ErrorCode::kUnavailable, no_rdma_text(errno));
  }
  const int flags = ::fcntl(channel->fd, F_GETFL);
  if (flags < 0 || ::fcntl(channel->fd, F_SETFL, flags | O_NONBLOCK) != 0) {
    return fail_errno(errno, "cannot make the RDMA event channel non-blocking");
  }
  return channel;
}

std::string cm_event_text(const CmEvent& event) {
  return fmt::format("{} (status {})", rdma_event_str(event.type), event.status);
}

Result<std::unique_ptr<CmEndpoint>> CmEndpoint::create(EventLoop& loop) {
  Result<UniqueCmChannel> channel = make_cm_channel();
  if (!channel) return std::unexpected(channel.error());
  rdma_cm_id* id = nullptr;
  if (rdma_create_id(channel->get(), &id, nullptr, RDMA_PS_TCP) != 0) {
    return fail_errno(errno, "cannot make an RDMA connection id");
  }
  return std::unique_ptr<CmEndpoint>(new CmEndpoint(loop, std::move(*channel), UniqueCmId(id)));
}

std::unique_ptr<CmEndpoint> CmEndpoint::adopt(EventLoop& loop, UniqueCmChannel channel,
                                              UniqueCmId id) {
  return std::unique_ptr<CmEndpoint>(new CmEndpoint(loop, std::move(channel), std::move(id)));
}

CmEndpoint::CmEndpoint(EventLoop& loop, UniqueCmChannel channel, UniqueCmId id)
    : loop_(loop),
      channel_(std::move(channel)),
      id_(std::move(id)),
      event_notice_(loop),
      closed_notice_(loop) {}

CmEndpoint::~CmEndpoint() {
  assert(!is_watched_);
  // Requests that nobody has taken.
  for (const CmEvent& event : events_) {
    if (event.type == RDMA_CM_EVENT_CONNECT_REQUEST) UniqueCmId(event.id).reset();
  }
}

void CmEndpoint::watch() {
  is_watched_ = true;
  loop_.submit_with(&watch_, [this](io_uring_sqe* entry) {
    io_uring_prep_poll_add(entry, channel_->fd, POLLIN);
  });
}

void CmEndpoint::Watch::on_completion(std::int32_t /*result*/, std::uint32_t /*flags*/) {
  endpoint_.is_watched_ = false;
  if (endpoint_.is_closing_) {
    endpoint_.closed_notice_.give();
    return;
  }
  endpoint_.watch();
  endpoint_.take_events();
}

void CmEndpoint::take_events() {
  rdma_cm_event* event = nullptr;
  while (rdma_get_cm_event(channel_.get(), &event) == 0) {
    events_.push_back(copy_of(*event));
    rdma_ack_cm_event(event);
  }
  if (!events_.empty()) event_notice_.give();
}

Task<Result<CmEvent>> CmEndpoint::next_event(std::uint64_t deadline_ns) {
  if (!is_watched_ && !is_closing_) watch();
  while (events_.empty() && !is_closing_) {
    const bool is_given = co_await event_notice_.wait_until(deadline_ns);
    if (!is_given) co_return fail(ErrorCode::kTimedOut);
  }
  if (is_closing_) co_return fail(ErrorCode::kCancelled);
  CmEvent event = std::move(events_.front());
  events_.pop_front();
  co_return std::move(event);
}

Task<> CmEndpoint::close() {
  if (std::exchange(is_closing_, true)) co_return;
  event_notice_.give();
  if (!is_watched_) co_return;
  loop_.cancel(watch_);
  [[maybe_unused]] const bool is_closed = co_await closed_notice_.wait();
}

}  // namespace rram
