#include "rdma/verbs/verbs_provider_channel.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

namespace rram {

namespace {

struct Domain {
  std::shared_ptr<void> owner;
  ibv_pd* handle = nullptr;
};

// The lease's, or one for this connection alone.
Result<Domain> domain_for(const VerbsRequest& request, const LeaseExports& exports) {
  if (request.data.role == Role::kData) {
    if (std::shared_ptr<LeaseExport> lease =
            exports.find(request.data.lease_id, request.id->verbs)) {
      ibv_pd* handle = &lease->domain();
      return Domain{std::move(lease), handle};
    }
  }
  std::shared_ptr<ibv_pd> own(ibv_alloc_pd(request.id->verbs), [](ibv_pd* domain) {
    if (domain != nullptr) ibv_dealloc_pd(domain);
  });
  if (!own) return fail_errno(errno, "cannot make an RDMA protection domain");
  ibv_pd* handle = own.get();
  return Domain{std::move(own), handle};
}

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

using MaybeExport = Result<std::shared_ptr<LeaseExport>>;

// Registers on a thread of its own, and resumes on the loop.
Task<MaybeExport> export_aside(EventLoop& loop, ibv_context& device,
                               std::vector<std::span<std::byte>> regions,
                               const std::vector<unsigned>& cpus) {
  MaybeExport exported = fail(ErrorCode::kCancelled);
  Notice done(loop);
  std::jthread worker;
  try {
    worker = std::jthread([&] {
      exported = LeaseExport::create(device, regions, cpus);
      loop.post([&done] { done.give(); });
    });
  } catch (const std::system_error&) {
    exported = fail(ErrorCode::kUnavailable, "the provider's host has no thread left");
    done.give();
  }
  [[maybe_unused]] const bool is_given = co_await done.wait();
  co_return std::move(exported);
}

}  // namespace

Result<std::unique_ptr<VerbsProviderChannel>> VerbsProviderChannel::accept(EventLoop& loop,
                                                                           VerbsRequest request,
                                                                           LeaseExports& exports) {
  Result<Domain> domain = domain_for(request, exports);
  if (!domain) return std::unexpected(domain.error());
  const bool is_in_lease = request.data.role == Role::kData &&
                           exports.find(request.data.lease_id, request.id->verbs) == domain->owner;
  Result<std::unique_ptr<CmEndpoint>> endpoint = CmEndpoint::adopt(loop, std::move(request.id));
  if (!endpoint) return std::unexpected(endpoint.error());
  ibv_pd& handle = *domain->handle;
  Result<std::unique_ptr<VerbsChannel>> channel =
      VerbsChannel::create(*endpoint, std::move(domain->owner), handle, {.is_guarded = true});
  if (!channel) return std::unexpected(channel.error());
  const Status answered = answer(**channel, request);
  if (answered) {
    (*channel)->begin();
  } else {
    (*channel)->shut_down();  // its session ends at once, and closes it
  }
  return std::unique_ptr<VerbsProviderChannel>(new VerbsProviderChannel(
      loop, std::move(*channel), request.data.lease_id, is_in_lease, exports));
}

Task<Status> VerbsProviderChannel::send_with_descriptors(FrameBytes /*frame*/,
                                                         std::vector<int> /*descriptors*/) {
  co_return fail(ErrorCode::kNotSupported, "descriptors do not travel over RDMA");
}

Task<Result<std::vector<RegionEntry>>> VerbsProviderChannel::export_lease(
    LeaseId id, std::vector<std::span<std::byte>> regions) {
  MaybeExport exported = co_await export_aside(loop_, *channel_->endpoint().id()->verbs,
                                               std::move(regions), exports_.cpus());
  if (!exported) co_return std::unexpected(exported.error());
  std::vector<RegionEntry> entries = (*exported)->entries();
  exports_.add(id, std::move(*exported));
  co_return std::move(entries);
}

Status VerbsProviderChannel::join(const LeaseId& id) {
  if (!is_in_lease_ || id != lease_) {
    return fail(ErrorCode::kRefused,
                "this RDMA connection was made for another lease, or on another device");
  }
  return channel_->queue_pair().allow_remote_access();
}

std::unique_ptr<DataServer> VerbsProviderChannel::make_data_server(
    std::vector<std::span<std::byte>> /*regions*/, DataCounters& /*counters*/) {
  return std::make_unique<VerbsDataServer>(*channel_);
}

}  // namespace rram
