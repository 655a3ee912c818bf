#include "rdma/verbs_provider.h"

#include <utility>

#include "rdma/verbs/lease_exports.h"
#include "rdma/verbs/verbs_listener.h"
#include "rdma/verbs/verbs_provider_channel.h"

namespace rram {

namespace {

class Port final : public VerbsPort {
 public:
  Port(std::unique_ptr<VerbsListener> listener, LeaseExports& exports)
      : listener_(std::move(listener)), exports_(exports) {}

  [[nodiscard]] std::uint16_t port() const override { return listener_->port(); }

  Task<Result<VerbsArrival>> next_arrival() override {
    Result<VerbsRequest> next = co_await listener_->next_request();
    if (!next) co_return std::unexpected(next.error());
    // std::function copies what it holds; the request has one owner.
    const auto request = std::make_shared<VerbsRequest>(std::move(*next));
    VerbsArrival arrival;
    arrival.peer = request->peer;
    arrival.device = ibv_get_device_name(request->id->verbs->device);
    arrival.accept = [request, &exports = exports_](EventLoop& loop) {
      return accept(loop, *request, exports);
    };
    arrival.refuse = [request](std::string_view why) { reject(std::move(request->id), why); };
    co_return std::move(arrival);
  }

  Task<> close() override { return listener_->close(); }

 private:
  static Result<std::unique_ptr<ProviderChannel>> accept(EventLoop& loop, VerbsRequest& request,
                                                         LeaseExports& exports) {
    Result<std::unique_ptr<VerbsProviderChannel>> channel =
        VerbsProviderChannel::accept(loop, std::move(request), exports);
    if (!channel) return std::unexpected(channel.error());
    return std::unique_ptr<ProviderChannel>(std::move(*channel));
  }

  std::unique_ptr<VerbsListener> listener_;
  LeaseExports& exports_;
};

class Service final : public VerbsService {
 public:
  Status check(const sockaddr_storage& address) override { return VerbsListener::check(address); }

  Result<std::unique_ptr<VerbsPort>> listen(EventLoop& loop,
                                            const sockaddr_storage& address) override {
    Result<std::unique_ptr<VerbsListener>> listener = VerbsListener::create(loop, address);
    if (!listener) return std::unexpected(listener.error());
    return std::make_unique<Port>(std::move(*listener), exports_);
  }

  void drop(const LeaseId& lease) override { exports_.drop(lease); }

 private:
  LeaseExports exports_;
};

}  // namespace

std::unique_ptr<VerbsService> VerbsService::create() { return std::make_unique<Service>(); }

}  // namespace rram
