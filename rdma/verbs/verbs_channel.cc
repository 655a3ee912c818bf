#include "rdma/verbs/verbs_channel.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "rdma/verbs/local_memory.h"

namespace rram {

namespace {

constexpr std::uint64_t kNsPerMs = 1'000'000;
// After the last word: how long its messages may take to arrive before the connection is cut.
constexpr std::uint64_t kLastWordLimitMs = 200;

}  // namespace

Result<std::unique_ptr<VerbsChannel>> VerbsChannel::create(std::unique_ptr<CmEndpoint>& endpoint,
                                                           std::shared_ptr<void> domain_owner,
                                                           ibv_pd& domain, const Options& options) {
  std::unique_ptr<VerbsChannel> made(
      new VerbsChannel(std::move(endpoint), std::move(domain_owner)));
  const Status status = made->set_up(domain, options);
  if (status) return made;
  endpoint = std::move(made->endpoint_);
  return std::unexpected(status.error());
}

Status VerbsChannel::set_up(ibv_pd& domain, const Options& options) {
  Result<Mapping> memory = Mapping::anonymous((kReceives + kSends) * kMessageBytes, true);
  if (!memory) return std::unexpected(memory.error());
  memory_ = std::move(*memory);
  Result<UniqueMemoryRegion> region =
      register_memory(domain, memory_.bytes(), IBV_ACCESS_LOCAL_WRITE);
  if (!region) return std::unexpected(region.error());
  region_ = std::move(*region);
  QueuePair::Options queue_options;
  queue_options.send_entries = kSends + kReserve + options.lane_entries;
  queue_options.receive_entries = kReceives;
  queue_options.inline_bytes = options.inline_bytes;
  queue_options.is_guarded = options.is_guarded;
  Result<std::unique_ptr<QueuePair>> queue_pair =
      QueuePair::create(*endpoint_, domain, queue_options);
  if (!queue_pair) return std::unexpected(queue_pair.error());
  queue_pair_ = std::move(*queue_pair);
  queue_pair_->set_on_failed([this](ibv_wc_status status) { end(work_failure(status)); });
  for (std::uint32_t slot = 0; slot < kReceives; ++slot) post_receive(slot);
  for (std::uint32_t slot = 0; slot < kSends; ++slot) free_sends_.push_back(slot);
  return {};
}

VerbsChannel::VerbsChannel(std::unique_ptr<CmEndpoint> endpoint, std::shared_ptr<void> domain_owner)
    : endpoint_(std::move(endpoint)),
      domain_owner_(std::move(domain_owner)),
      received_(endpoint_->loop()),
      can_send_(endpoint_->loop()) {}

VerbsChannel::~VerbsChannel() = default;

// ---- memory ------------------------------------------------------------------------------------

std::span<std::byte> VerbsChannel::receive_slot(std::uint32_t slot) {
  return memory_.bytes().subspan(slot * kMessageBytes, kMessageBytes);
}

std::span<std::byte> VerbsChannel::send_slot(std::uint32_t slot) {
  return memory_.bytes().subspan((kReceives + slot) * kMessageBytes, kMessageBytes);
}

ibv_sge VerbsChannel::memory_of(std::span<std::byte> bytes) const {
  return {reinterpret_cast<std::uint64_t>(bytes.data()), static_cast<std::uint32_t>(bytes.size()),
          region_->lkey};
}

void VerbsChannel::post_receive(std::uint32_t slot) {
  queue_pair_->post_receive(memory_of(receive_slot(slot)), *this, kReceiveCookie | slot);
}

// ---- receiving ---------------------------------------------------------------------------------

void VerbsChannel::on_work_done(const WorkResult& result) {
  const auto slot = static_cast<std::uint32_t>(result.cookie);
  if ((result.cookie & kReceiveCookie) != 0) {
    if (result.status == IBV_WC_SUCCESS) on_received(slot, result);
    return;
  }
  if ((result.cookie & kCreditCookie) == 0) free_sends_.push_back(slot);
  if (result.status == IBV_WC_SUCCESS) return_credits();
  can_send_.give();
}

void VerbsChannel::on_received(std::uint32_t slot, const WorkResult& result) {
  const std::uint32_t returned = ntohl(result.immediate);
  if (returned > kReceives || credits_ + returned > kReceives ||
      result.received_bytes > kMessageBytes) {
    return end({ErrorCode::kProtocol, "it returned more message credits than it was given"});
  }
  credits_ += returned;
  if (result.received_bytes == 0) {
    post_receive(slot);
  } else {
    inbound_.push_back({slot, 0, result.received_bytes});
  }
  if (returned > 0) can_send_.give();
  if (result.received_bytes > 0) received_.give();
}

Task<int> VerbsChannel::receive(std::span<std::byte> buffer, std::uint64_t deadline_ns) {
  is_receiving_ = true;
  bool is_in_time = true;
  while (inbound_.empty() && !ended_ && !is_called_off_ && is_in_time) {
    is_in_time = co_await received_.wait_until(deadline_ns);
  }
  is_receiving_ = false;
  if (std::exchange(is_called_off_, false)) co_return -ECANCELED;
  if (inbound_.empty()) {
    if (!ended_) co_return -ETIMEDOUT;
    if (ended_->code == ErrorCode::kTimedOut) co_return -EHOSTDOWN;
    co_return ended_->code == ErrorCode::kDisconnected ? 0 : -ECONNABORTED;
  }
  Inbound& message = inbound_.front();
  const std::size_t length =
      std::min<std::size_t>(buffer.size(), message.end_bytes - message.offset_bytes);
  std::memcpy(buffer.data(), receive_slot(message.slot).data() + message.offset_bytes, length);
  message.offset_bytes += static_cast<std::uint32_t>(length);
  if (message.offset_bytes == message.end_bytes) {
    const std::uint32_t slot = message.slot;
    inbound_.pop_front();
    post_receive(slot);
    ++unreturned_;
    return_credits();
  }
  co_return static_cast<int>(length);
}

void VerbsChannel::call_off_receive() {
  if (!is_receiving_) return;
  is_called_off_ = true;
  received_.give();
}

// ---- sending -----------------------------------------------------------------------------------

bool VerbsChannel::can_post() const {
  return credits_ > 0 && !free_sends_.empty() && queue_pair_->free_send_entries() > kReserve;
}

void VerbsChannel::post_message(std::span<const std::byte> bytes) {
  const std::uint32_t slot = free_sends_.back();
  free_sends_.pop_back();
  --credits_;
  const std::span<std::byte> place = send_slot(slot).first(bytes.size());
  std::ranges::copy(bytes, place.begin());
  ibv_send_wr request{};
  request.opcode = IBV_WR_SEND_WITH_IMM;
  request.imm_data = htonl(std::exchange(unreturned_, 0U));
  queue_pair_->add_send(request, memory_of(place), *this, slot);
  queue_pair_->submit();
}

// A peer that only listens must learn of the receives that are free again.
void VerbsChannel::return_credits() {
  if (unreturned_ >= kReceives / 2) probe();
}

void VerbsChannel::probe() {
  if (ended_ || queue_pair_->free_send_entries() == 0) return;
  ibv_send_wr request{};
  request.opcode = IBV_WR_SEND_WITH_IMM;
  request.imm_data = htonl(std::exchange(unreturned_, 0U));
  queue_pair_->add_send(request, {}, *this, kCreditCookie);
  queue_pair_->submit();
}

Task<int> VerbsChannel::send(std::span<const std::byte> bytes) {
  const auto total_bytes = static_cast<int>(bytes.size());
  while (!bytes.empty()) {
    while (!can_post() && !ended_) {
      [[maybe_unused]] const bool is_given = co_await can_send_.wait();
    }
    if (ended_) co_return -EPIPE;
    const std::size_t length = std::min(bytes.size(), kMessageBytes);
    post_message(bytes.first(length));
    bytes = bytes.subspan(length);
  }
  co_return total_bytes;
}

bool VerbsChannel::send_now(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (ended_ || !can_post()) return false;
    const std::size_t length = std::min(bytes.size(), kMessageBytes);
    post_message(bytes.first(length));
    bytes = bytes.subspan(length);
  }
  return true;
}

// ---- the connection's end ----------------------------------------------------------------------

void VerbsChannel::begin() {
  is_connected_ = true;
  spawn(watching_, watch_connection());
}

Task<> VerbsChannel::watch_connection() {
  for (;;) {
    const Result<CmEvent> event = co_await endpoint_->next_event(Notice::kNoDeadline);
    if (!event) co_return;
    switch (event->type) {
      case RDMA_CM_EVENT_DISCONNECTED:
        queue_pair_->poll();  // the peer's last words came before
        end({ErrorCode::kDisconnected, "the peer closed the RDMA connection"});
        break;
      case RDMA_CM_EVENT_CONNECT_ERROR:
      case RDMA_CM_EVENT_UNREACHABLE:
      case RDMA_CM_EVENT_REJECTED:
        end({ErrorCode::kDisconnected, "the RDMA connection did not come about"});
        break;
      // As when the network is silent: the peer is there still, and its lease must outlast this.
      case RDMA_CM_EVENT_DEVICE_REMOVAL:
        end({ErrorCode::kTimedOut, "the RDMA device was removed from this host"});
        break;
      case RDMA_CM_EVENT_ADDR_CHANGE:
        end({ErrorCode::kTimedOut, "the address of the RDMA device has changed"});
        break;
      default:
        break;
    }
  }
}

void VerbsChannel::set_on_ended(std::function<void(const Error&)> handler) {
  on_ended_ = std::move(handler);
  if (on_ended_ && ended_) std::exchange(on_ended_, nullptr)(*ended_);
}

void VerbsChannel::end(Error reason) {
  if (ended_) return;
  ended_ = std::move(reason);
  received_.give();
  can_send_.give();
  if (on_ended_) std::exchange(on_ended_, nullptr)(*ended_);
}

void VerbsChannel::shut_down() {
  if (ended_) return;
  on_ended_ = nullptr;
  end({ErrorCode::kDisconnected, "the connection was ended here"});
}

Task<> VerbsChannel::close() {
  shut_down();
  EventLoop& loop = endpoint_->loop();
  const std::uint64_t limit_ns = loop.now_ns() + kLastWordLimitMs * kNsPerMs;
  while (is_connected_ && !queue_pair_->is_failed() && free_sends_.size() < kSends &&
         loop.now_ns() < limit_ns) {
    [[maybe_unused]] const bool is_given = co_await can_send_.wait_until(limit_ns);
  }
  if (is_connected_) rdma_disconnect(endpoint_->id());
  co_await queue_pair_->close();
  co_await endpoint_->close();
  co_await watching_.close();
  region_.reset();
  domain_owner_.reset();
}

}  // namespace rram
