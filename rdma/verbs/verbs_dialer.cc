#include "rdma/verbs/verbs_dialer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "rdma/verbs/cm_endpoint.h"
#include "rdma/verbs/connect_data.h"
#include "rdma/verbs/lane_limits.h"
#include "rdma/verbs/verbs_channel.h"

namespace rram {

namespace {

constexpr std::uint64_t kNsPerMs = 1'000'000;
constexpr int kRejectedByNobody = 8;  // the peer's host has RDMA, but nothing listens there
constexpr int kRejectedByPeer = 28;   // what listens has refused, and may say why
// 4.096 us * 2^14, which is tried kRetries times: a host that is dead shows after about half a
// second.
constexpr std::uint8_t kAckTimeout = 14;
constexpr std::uint8_t kRetries = 6;  // 7 means "for ever" to soft-RoCE
// A receiver that is not ready is waited for without end: our credits see to it that it never is.
constexpr std::uint8_t kReceiverNotReadyRetries = 7;

int left_ms(const EventLoop& loop, std::uint64_t deadline_ns) {
  const std::uint64_t now_ns = loop.now_ns();
  return static_cast<int>(deadline_ns > now_ns + kNsPerMs
                              ? std::min<std::uint64_t>((deadline_ns - now_ns) / kNsPerMs, 60'000)
                              : 1);
}

std::string rejection_text(const CmEvent& event) {
  if (event.status == kRejectedByNobody) {
    return "no provider listens there for RDMA connections: is rram-provider running there with "
           "--listen verbs://?";
  }
  if (event.status == kRejectedByPeer && !event.private_data.empty()) {
    const auto* text = reinterpret_cast<const char*>(event.private_data.data());
    return fmt::format("the provider says: {}",
                       std::string_view(text, ::strnlen(text, event.private_data.size())));
  }
  return fmt::format("the RDMA connection was rejected ({})", cm_event_text(event));
}

std::string failure_text(const CmEvent& event) {
  const int error = event.status < 0 ? -event.status : event.status;
  switch (event.type) {
    case RDMA_CM_EVENT_ADDR_ERROR:
      return error == ENODEV ? "no RDMA device of this host leads there"
                             : fmt::format("no way there over RDMA ({})", std::strerror(error));
    case RDMA_CM_EVENT_ROUTE_ERROR:
      return fmt::format("no RDMA route there ({})", std::strerror(error));
    case RDMA_CM_EVENT_UNREACHABLE:
      return fmt::format("no answer over RDMA ({}): is the host up, and does its NIC have RDMA?",
                         std::strerror(error));
    case RDMA_CM_EVENT_REJECTED:
      return rejection_text(event);
    default:
      return cm_event_text(event);
  }
}

// Waits for one event of the connecting.
Task<Status> expect(CmEndpoint& endpoint, rdma_cm_event_type wanted, std::uint64_t deadline_ns) {
  const Result<CmEvent> event = co_await endpoint.next_event(deadline_ns);
  if (!event) {
    co_return fail(event.error().code, "no answer over RDMA in time: is the host up?");
  }
  if (event->type == wanted) co_return Status{};
  const ErrorCode code = event->type == RDMA_CM_EVENT_REJECTED && event->status == kRejectedByPeer
                             ? ErrorCode::kRefused
                             : ErrorCode::kDisconnected;
  co_return fail(code, failure_text(*event));
}

// From a fresh id to one that knows its device and its route.
Task<Status> find_route(CmEndpoint& endpoint, SocketAddress address, std::uint64_t deadline_ns) {
  auto* target = reinterpret_cast<sockaddr*>(&address.storage);
  if (rdma_resolve_addr(endpoint.id(), nullptr, target, left_ms(endpoint.loop(), deadline_ns)) !=
      0) {
    co_return fail(ErrorCode::kDisconnected,
                   fmt::format("no way there over RDMA ({})", std::strerror(errno)));
  }
  Status resolved = co_await expect(endpoint, RDMA_CM_EVENT_ADDR_RESOLVED, deadline_ns);
  if (!resolved) co_return std::move(resolved);
  std::uint8_t ack_timeout = kAckTimeout;
  // Only better to have: without it the device's own time holds.
  rdma_set_option(endpoint.id(), RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &ack_timeout,
                  sizeof ack_timeout);
  if (rdma_resolve_route(endpoint.id(), left_ms(endpoint.loop(), deadline_ns)) != 0) {
    co_return fail(ErrorCode::kDisconnected,
                   fmt::format("no RDMA route there ({})", std::strerror(errno)));
  }
  Status routed = co_await expect(endpoint, RDMA_CM_EVENT_ROUTE_RESOLVED, deadline_ns);
  co_return std::move(routed);
}

Status begin_connecting(CmEndpoint& endpoint, const std::optional<LeaseId>& lease) {
  const ConnectData data = make_connect_data(lease);
  rdma_conn_param param{};
  param.private_data = &data;
  param.private_data_len = sizeof data;
  param.responder_resources = 1;
  param.initiator_depth = RDMA_MAX_INIT_DEPTH;
  param.retry_count = kRetries;
  param.rnr_retry_count = kReceiverNotReadyRetries;
  if (rdma_connect(endpoint.id(), &param) == 0) return {};
  return fail_errno(errno, "cannot begin an RDMA connection");
}

std::unexpected<Error> fail_with(const Endpoint& endpoint, const Error& error) {
  return fail(error.code, fmt::format("provider {}: {}", endpoint_text(endpoint), error.message));
}

}  // namespace

Task<Result<std::unique_ptr<ByteChannel>>> VerbsDialer::connect(EventLoop& loop, Endpoint endpoint,
                                                                SocketAddress address,
                                                                std::optional<LeaseId> lease,
                                                                std::uint64_t deadline_ns) {
  Result<std::unique_ptr<CmEndpoint>> made = CmEndpoint::create(loop);
  if (!made) co_return fail_with(endpoint, made.error());
  std::unique_ptr<CmEndpoint> cm = std::move(*made);
  Status status = co_await find_route(*cm, address, deadline_ns);
  if (status && !device_.empty()) {
    const std::string_view found = ibv_get_device_name(cm->id()->verbs->device);
    if (found != device_) {
      status = fail(
          ErrorCode::kUnavailable,
          fmt::format("the way there leads over the RDMA device {}, not over {}", found, device_));
    }
  }
  Result<std::shared_ptr<LocalMemory>> memory = fail(ErrorCode::kCancelled);
  if (status) {
    memory = memories_->of(*cm->id()->verbs);
    if (!memory) status = std::unexpected(memory.error());
  }
  if (!status) {
    co_await cm->close();
    co_return fail_with(endpoint, status.error());
  }
  VerbsChannel::Options options;
  if (lease) options = {kLaneSendEntries, kLaneInlineBytes};
  ibv_pd& domain = (*memory)->domain();
  Result<std::unique_ptr<VerbsChannel>> channel =
      VerbsChannel::create(cm, std::move(*memory), domain, options);
  if (!channel) {
    co_await cm->close();
    co_return fail_with(endpoint, channel.error());
  }
  status = begin_connecting((*channel)->endpoint(), lease);
  if (status) {
    status = co_await expect((*channel)->endpoint(), RDMA_CM_EVENT_ESTABLISHED, deadline_ns);
  }
  if (!status) {
    co_await (*channel)->close();
    co_return fail_with(endpoint, status.error());
  }
  (*channel)->begin();
  co_return std::unique_ptr<ByteChannel>(std::move(*channel));
}

}  // namespace rram
