// One RDMA connection as a ByteChannel: control frames travel in SEND messages of its queue pair,
// which a lane uses for RDMA READ and WRITE afterwards.
//
// Messages never find the receiver without a posted receive: each end knows how many it may still
// send (credits); receives that were posted again are told with the next message, or, where there
// is none, by a message of no bytes, for which receives are kept in reserve.
//
// Belongs to the thread of its loop.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/gate.h"
#include "base/mapping.h"
#include "base/notice.h"
#include "rdma/control/byte_channel.h"
#include "rdma/verbs/cm_endpoint.h"
#include "rdma/verbs/queue_pair.h"

namespace rram {

class VerbsChannel final : public ByteChannel, private WorkTarget {
 public:
  struct Options {
    unsigned lane_entries = 0;  // of the send queue, besides those for messages
    unsigned inline_bytes = 0;
    bool is_guarded = false;  // QueuePair::Options
  };
  // Makes the queue pair in `domain`, which `domain_owner` keeps alive, and posts receives. The
  // endpoint, which is not connected yet, is taken over, but not on failure.
  static Result<std::unique_ptr<VerbsChannel>> create(std::unique_ptr<CmEndpoint>& endpoint,
                                                      std::shared_ptr<void> domain_owner,
                                                      ibv_pd& domain, const Options& options);
  ~VerbsChannel() override;

  [[nodiscard]] CmEndpoint& endpoint() { return *endpoint_; }
  [[nodiscard]] QueuePair& queue_pair() { return *queue_pair_; }

  // Sends a message of no bytes: a peer that is gone shows by it.
  void probe();

  // The connection is established: from now on its end is noticed.
  void begin();
  // Called once, from the loop, when the connection ends by itself; at once, if it has already.
  void set_on_ended(std::function<void(const Error&)> handler);
  [[nodiscard]] bool has_ended() const { return ended_.has_value(); }

  Task<int> receive(std::span<std::byte> buffer, std::uint64_t deadline_ns) override;
  void call_off_receive() override;
  Task<int> send(std::span<const std::byte> bytes) override;
  bool send_now(std::span<const std::byte> bytes) override;
  // An RDMA connection ends in both directions at once: nothing to do before shut_down().
  void end_sending() override {}
  void shut_down() override;
  Task<> close() override;

 private:
  struct Inbound {
    std::uint32_t slot;
    std::uint32_t offset_bytes;
    std::uint32_t end_bytes;
  };

  static constexpr std::size_t kMessageBytes = 4096;
  static constexpr unsigned kReceives = 16;
  static constexpr unsigned kSends = 8;
  // Receives for messages that only carry credits.
  static constexpr unsigned kReserve = 2;
  static constexpr std::uint64_t kReceiveCookie = std::uint64_t{1} << 32;
  static constexpr std::uint64_t kCreditCookie = std::uint64_t{2} << 32;

  VerbsChannel(std::unique_ptr<CmEndpoint> endpoint, std::shared_ptr<void> domain_owner);
  Status set_up(ibv_pd& domain, const Options& options);

  void on_work_done(const WorkResult& result) override;
  void on_received(std::uint32_t slot, const WorkResult& result);
  [[nodiscard]] std::span<std::byte> send_slot(std::uint32_t slot);
  [[nodiscard]] std::span<std::byte> receive_slot(std::uint32_t slot);
  [[nodiscard]] ibv_sge memory_of(std::span<std::byte> bytes) const;
  void post_receive(std::uint32_t slot);
  void post_message(std::span<const std::byte> bytes);
  void return_credits();
  [[nodiscard]] bool can_post() const;
  Task<> watch_connection();
  void end(Error reason);

  std::unique_ptr<CmEndpoint> endpoint_;
  std::shared_ptr<void> domain_owner_;
  Mapping memory_;
  UniqueMemoryRegion region_;
  std::unique_ptr<QueuePair> queue_pair_;
  Gate watching_;
  bool is_connected_ = false;

  std::deque<Inbound> inbound_;
  std::vector<std::uint32_t> free_sends_;
  unsigned credits_ = kReceives - kReserve;
  unsigned unreturned_ = 0;  // receives posted again that the peer does not know of
  bool is_receiving_ = false;
  bool is_called_off_ = false;
  Notice received_;
  Notice can_send_;
  std::optional<Error> ended_;
  std::function<void(const Error&)> on_ended_;
};

}  // namespace rram
