#include "rdma/verbs/verbs_provider_channel.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <utility>

namespace rram {

namespace {

Status answer(VerbsChannel& channel, const VerbsRequest& request) {
  ibv_device_attr limits{};
  if (const int rc = ibv_query_device(channel.endpoint().id()->verbs, &limits); rc != 0) {
    return fail_errno(rc, "cannot ask the RDMA device for its limits");
  }
  const int resources = std::min<int>(request.responder_resources, limits.max_qp_rd_atom);
  const int depth = std::min<int>(request.initiator_depth, limits.max_qp_init_rd_atom);
  return channel.queue_pair().accept(static_cast<std::uint8_t>(resources),
                                     static_cast<std::uint8_t>(depth));
}

// A requester that is gone without a word is found by a message of no bytes now and then.
constexpr std::uint64_t kProbeIntervalNs = 2'000'000'000;

// Nothing happens on the data path here: this waits for the lane's end.
class VerbsDataServer final : public DataServer {
 public:
  explicit VerbsDataServer(VerbsChannel& channel) : channel_(channel) {}

  Task<Status> serve() override {
    std::array<std::byte, 64> unexpected;
    int received = -ETIMEDOUT;
    while (received == -ETIMEDOUT && !stopped_) {
      channel_.probe();
      const std::uint64_t due_ns = channel_.endpoint().loop().now_ns() + kProbeIntervalNs;
      received = co_await channel_.receive(unexpected, due_ns);
    }
    if (stopped_) co_return std::unexpected(*stopped_);
    // From here on nothing of the lease can be reached, even if the peer lives on.
    channel_.queue_pair().fail();
    if (received == 0) co_return Status{};
    if (received > 0) {
      co_return fail(ErrorCode::kProtocol, "the requester sent a message over a data connection");
    }
    co_return fail(received == -EHOSTDOWN ? ErrorCode::kTimedOut : ErrorCode::kDisconnected,
                   "the RDMA connection failed");
  }

  void stop(WireError /*code*/, std::string_view text) override {
    if (stopped_) return;
    stopped_ = Error{ErrorCode::kCancelled, std::string(text)};
    channel_.queue_pair().fail();
    channel_.shut_down();
  }

 private:
  VerbsChannel& channel_;
  std::optional<Error> stopped_;
};

}  // namespace

Result<std::unique_ptr<VerbsProviderChannel>> VerbsProviderChannel::accept(EventLoop& loop,
                                                                           VerbsRequest request,
                                                                           LeaseExports& exports) {
  ibv_context& device = *request.id->verbs;
  Result<std::shared_ptr<LeaseExport>> exported = nullptr;
  if (request.data.role == Role::kData) exported = exports.find(request.data.lease_id, device);
  if (!exported) return std::unexpected(exported.error());
  std::shared_ptr<void> owner = *exported;
  ibv_pd* domain = *exported ? &(*exported)->domain() : nullptr;
  if (domain == nullptr) {
    Result<UniqueProtectionDomain> own = make_protection_domain(device);
    if (!own) return std::unexpected(own.error());
    domain = own->get();
    owner = std::shared_ptr<ibv_pd>(std::move(*own));
  }
  std::unique_ptr<CmEndpoint> endpoint =
      CmEndpoint::adopt(loop, std::move(request.channel), std::move(request.id));
  Result<std::unique_ptr<VerbsChannel>> channel =
      VerbsChannel::create(endpoint, std::move(owner), *domain, {.is_guarded = true});
  if (!channel) return std::unexpected(channel.error());
  const Status answered = answer(**channel, request);
  if (answered) {
    (*channel)->begin();
  } else {
    (*channel)->shut_down();  // its session ends at once, and closes it
  }
  return std::unique_ptr<VerbsProviderChannel>(new VerbsProviderChannel(
      loop, std::move(*channel), request.data.lease_id, std::move(*exported), exports));
}

Task<Status> VerbsProviderChannel::send_with_descriptors(FrameBytes /*frame*/,
                                                         std::vector<int> /*descriptors*/) {
  co_return fail(ErrorCode::kNotSupported, "descriptors do not travel over RDMA");
}

// On the device of the control connection, which lanes are likely to come over too.
Task<Status> VerbsProviderChannel::prepare(LeaseId id, std::vector<std::span<std::byte>> regions) {
  exports_.open(id);
  const Result<std::shared_ptr<LeaseExport>> exported =
      exports_.find(id, *channel_->endpoint().id()->verbs);
  if (!exported) co_return std::unexpected(exported.error());
  Status status = co_await (*exported)->registered(loop_, std::move(regions), exports_.cpus(),
                                                   [this] { return !channel_->has_ended(); });
  co_return std::move(status);
}

Task<Result<std::vector<RegionEntry>>> VerbsProviderChannel::join(
    LeaseId id, std::vector<std::span<std::byte>> regions, std::function<bool()> is_wanted) {
  if (!export_ || id != lease_) {
    co_return fail(ErrorCode::kRefused, "this RDMA connection was made for another lease");
  }
  const auto goes_on = [this, &is_wanted] { return !channel_->has_ended() && is_wanted(); };
  Status status = co_await export_->registered(loop_, std::move(regions), exports_.cpus(), goes_on);
  // It may have been replaced while the last of it was registered.
  if (status && !goes_on()) status = fail(ErrorCode::kCancelled, "nobody waits for it any more");
  if (status) status = channel_->queue_pair().allow_remote_access();
  if (!status) co_return std::unexpected(status.error());
  co_return export_->entries();
}

std::unique_ptr<DataServer> VerbsProviderChannel::make_data_server(
    std::vector<std::span<std::byte>> /*regions*/, DataCounters& /*counters*/) {
  return std::make_unique<VerbsDataServer>(*channel_);
}

}  // namespace rram
