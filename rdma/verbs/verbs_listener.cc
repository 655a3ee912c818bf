#include "rdma/verbs/verbs_listener.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace rram {

namespace {

constexpr int kBacklog = 256;
// What librdmacm carries with a rejection (RDMA_PS_TCP).
constexpr std::size_t kMaxRejectionBytes = 148;

Status listen_on(rdma_cm_id* id, sockaddr_storage address) {
  if (rdma_bind_addr(id, reinterpret_cast<sockaddr*>(&address)) == 0 &&
      rdma_listen(id, kBacklog) == 0) {
    return {};
  }
  const int error = errno;
  if (error == ENODEV || error == EADDRNOTAVAIL) {
    return fail(ErrorCode::kUnavailable, "no RDMA device of this host has that address");
  }
  return fail_errno(error, "cannot listen for RDMA connections");
}

}  // namespace

void reject(UniqueCmId id, std::string_view why) {
  const std::string_view cut = why.substr(0, kMaxRejectionBytes);
  rdma_reject(id.get(), cut.data(), static_cast<std::uint8_t>(cut.size()));
}

Status VerbsListener::check(const sockaddr_storage& address) {
  UniqueCmChannel channel(rdma_create_event_channel());
  rdma_cm_id* made = nullptr;
  if (!channel || rdma_create_id(channel.get(), &made, nullptr, RDMA_PS_TCP) != 0) {
    return fail(ErrorCode::kUnavailable, no_rdma_text(errno));
  }
  const UniqueCmId id(made);
  return listen_on(id.get(), address);
}

Result<std::unique_ptr<VerbsListener>> VerbsListener::create(EventLoop& loop,
                                                             const sockaddr_storage& address) {
  Result<std::unique_ptr<CmEndpoint>> endpoint = CmEndpoint::create(loop);
  if (!endpoint) return std::unexpected(endpoint.error());
  const Status listening = listen_on((*endpoint)->id(), address);
  if (!listening) return std::unexpected(listening.error());
  return std::unique_ptr<VerbsListener>(new VerbsListener(std::move(*endpoint)));
}

std::uint16_t VerbsListener::port() const { return ntohs(rdma_get_src_port(endpoint_->id())); }

Task<Result<VerbsRequest>> VerbsListener::next_request() {
  for (;;) {
    Result<CmEvent> event = co_await endpoint_->next_event(Notice::kNoDeadline);
    if (!event) co_return std::unexpected(event.error());
    if (event->type != RDMA_CM_EVENT_CONNECT_REQUEST) continue;
    UniqueCmId id(event->id);
    const Result<ConnectData> data = decode_connect_data(event->private_data);
    if (!data) {
      reject(std::move(id), data.error().message);
      continue;
    }
    VerbsRequest request;
    request.data = *data;
    request.responder_resources = event->responder_resources;
    request.initiator_depth = event->initiator_depth;
    const sockaddr* peer = rdma_get_peer_addr(id.get());
    const std::size_t length =
        peer->sa_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
    std::memcpy(&request.peer, peer, length);
    request.id = std::move(id);
    co_return std::move(request);
  }
}

}  // namespace rram
