#include "rdma/verbs/verbs_listener.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

namespace rram {

namespace {

constexpr int kBacklog = 256;
// What librdmacm carries with a rejection (RDMA_PS_TCP).
constexpr std::size_t kMaxRejectionBytes = 148;
constexpr std::uint64_t kRetryIntervalNs = 1'000'000'000;

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

Result<std::unique_ptr<CmEndpoint>> make_listening(EventLoop& loop,
                                                   const sockaddr_storage& address) {
  Result<std::unique_ptr<CmEndpoint>> endpoint = CmEndpoint::create(loop);
  if (!endpoint) return std::unexpected(endpoint.error());
  const Status listening = listen_on((*endpoint)->id(), address);
  if (!listening) return std::unexpected(listening.error());
  return endpoint;
}

// Nothing if the request was not one of this protocol, and is answered, or cannot be taken.
std::optional<VerbsRequest> request_of(const CmEvent& event) {
  UniqueCmId id(event.id);
  const Result<ConnectData> data = decode_connect_data(event.private_data);
  if (!data) {
    reject(std::move(id), data.error().message);
    return std::nullopt;
  }
  Result<UniqueCmChannel> channel = make_cm_channel();
  if (!channel || rdma_migrate_id(id.get(), channel->get()) != 0) {
    reject(std::move(id), "the provider's host has no descriptor left");
    return std::nullopt;
  }
  VerbsRequest request;
  request.channel = std::move(*channel);
  request.data = *data;
  request.responder_resources = event.responder_resources;
  request.initiator_depth = event.initiator_depth;
  const sockaddr* peer = rdma_get_peer_addr(id.get());
  const std::size_t length =
      peer->sa_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  std::memcpy(&request.peer, peer, length);
  request.id = std::move(id);
  return request;
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
  Result<std::unique_ptr<CmEndpoint>> endpoint = make_listening(loop, address);
  if (!endpoint) return std::unexpected(endpoint.error());
  return std::unique_ptr<VerbsListener>(new VerbsListener(std::move(*endpoint), address));
}

VerbsListener::VerbsListener(std::unique_ptr<CmEndpoint> endpoint, const sockaddr_storage& address)
    : loop_(endpoint->loop()),
      address_(address),
      endpoint_(std::move(endpoint)),
      closing_notice_(loop_) {
  const std::uint16_t port = rdma_get_src_port(endpoint_->id());
  if (address_.ss_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(&address_)->sin6_port = port;
  } else {
    reinterpret_cast<sockaddr_in*>(&address_)->sin_port = port;
  }
}

std::uint16_t VerbsListener::port() const {
  return ntohs(address_.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6*>(&address_)->sin6_port
                   : reinterpret_cast<const sockaddr_in*>(&address_)->sin_port);
}

Task<Result<VerbsRequest>> VerbsListener::next_request() {
  calls_.enter();
  Result<VerbsRequest> request = co_await request_or_news();
  calls_.leave();
  co_return std::move(request);
}

Task<Result<VerbsRequest>> VerbsListener::request_or_news() {
  if (!endpoint_) {
    const bool is_back = co_await listen_again();
    if (!is_back) co_return fail(ErrorCode::kCancelled);
    co_return fail(ErrorCode::kUnavailable, "RDMA connections can be made again");
  }
  for (;;) {
    Result<CmEvent> event = co_await endpoint_->next_event(Notice::kNoDeadline);
    if (!event) co_return std::unexpected(event.error());
    if (event->type == RDMA_CM_EVENT_CONNECT_REQUEST) {
      std::optional<VerbsRequest> request = request_of(*event);
      if (request) co_return std::move(*request);
      continue;
    }
    // What happens to a request that nobody has accepted yet comes here, too.
    if (event->id != endpoint_->id()) continue;
    std::string_view why;
    if (event->type == RDMA_CM_EVENT_DEVICE_REMOVAL) why = "the RDMA device was removed";
    if (event->type == RDMA_CM_EVENT_ADDR_CHANGE) why = "another RDMA device has the address now";
    if (why.empty()) continue;
    Error news = co_await lose(why);
    if (calls_.is_closed()) co_return fail(ErrorCode::kCancelled);
    co_return std::unexpected(std::move(news));
  }
}

// The id keeps the device from going: it must be released.
Task<Error> VerbsListener::lose(std::string_view why) {
  const std::unique_ptr<CmEndpoint> lost = std::move(endpoint_);
  co_await lost->close();
  co_return Error{ErrorCode::kUnavailable,
                  fmt::format("{}: no RDMA connection can be made until a device has the address; "
                              "this is tried every second",
                              why)};
}

// False: close() was called.
Task<bool> VerbsListener::listen_again() {
  while (!calls_.is_closed()) {
    Result<std::unique_ptr<CmEndpoint>> endpoint = make_listening(loop_, address_);
    if (endpoint) {
      endpoint_ = std::move(*endpoint);
      co_return true;
    }
    [[maybe_unused]] const bool is_closing =
        co_await closing_notice_.wait_until(loop_.now_ns() + kRetryIntervalNs);
  }
  co_return false;
}

Task<> VerbsListener::close() {
  // Closed first: whoever is woken sees it.
  auto is_quiet = calls_.close();
  closing_notice_.give();
  if (endpoint_) co_await endpoint_->close();
  co_await is_quiet;
}

}  // namespace rram
