// The provider's side of one connection, from accept to close: a state machine without I/O, clock
// or memory of its own (docs/protocol.md, "Provider: what is accepted in which state"). Its owner
// reads frames (FrameReader), feeds them in, and carries out the actions that come back. Data
// requests on an attached data connection do not pass through here. One thread at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "rdma/session/actions.h"
#include "rdma/session/lease_terms.h"
#include "rdma/session/preshared_key.h"
#include "rdma/session/psk_handshake.h"
#include "rdma/wire/codec.h"
#include "rdma/wire/frames.h"

namespace rram {

struct ProviderSessionOptions {
  std::string provider_name;
  Incarnation incarnation{};        // not all zero
  std::optional<PresharedKey> key;  // set: every connection must prove it
  std::uint64_t pool_bytes = 0;
  std::uint64_t free_bytes = 0;  // at the time of accept
  std::uint64_t segment_bytes = 0;
  bool can_pass_descriptors = false;         // the connection is a Unix socket
  bool can_use_records = false;              // the connection is TCP: the feature TLS, with a key
  bool requires_records = false;             // refuse who does not ask for it, where it can be had
  std::uint64_t handshake_limit_ms = 5'000;  // from accept to READY, or to ATTACHED for data
  std::uint64_t idle_limit_ms = 60'000;      // silence of a control connection without a lease
};

class ProviderSession {
 public:
  enum class State : std::uint8_t {
    kHello,
    kAuth,
    kReady,
    kGranting,
    kAttaching,
    kLeased,
    kReleasing,
    kAttached,
    kClosed,
  };

  // Times are of any one monotonic clock.
  ProviderSession(ProviderSessionOptions options, std::uint64_t now_ms);

  // ---- what the connection brings ----

  // What the owner may read next: for FrameReader::next(). In state kAttached, data requests are
  // allowed besides; they are the transport's to read.
  [[nodiscard]] FrameSet accepted() const;
  // "LEASED"
  [[nodiscard]] std::string_view state_name() const;

  // `descriptor_count`: file descriptors that came with it; the owner closes them.
  ProviderActions on_frame(const FrameHeader& header, std::span<const std::byte> body,
                           std::size_t descriptor_count, std::uint64_t now_ms);
  // The stream is not what the protocol allows; `error` says why (FrameReader, data requests).
  ProviderActions on_malformed(const Error& error);
  // The connection ended or failed.
  ProviderActions on_closed();

  // Call on_tick() at this time; UINT64_MAX: at none.
  [[nodiscard]] std::uint64_t next_deadline_ms() const;
  ProviderActions on_tick(std::uint64_t now_ms);

  // ---- what the provider decides ----
  // After the session was closed these do nothing: where memory was reserved for an answer, look at
  // state() first.

  // Answers WantLease.
  ProviderActions grant(const LeaseTerms& terms, std::uint64_t now_ms);
  // Answers WantLease: the memory is not there yet.
  ProviderActions wait(std::uint64_t reclaiming_bytes, std::uint32_t retry_ms,
                       std::uint64_t now_ms);
  // Answers WantAttach. `regions`: how this connection names them, terms.region_count of them, or
  // none where a region is its number.
  ProviderActions attached(const LeaseTerms& terms, std::span<const RegionEntry> regions,
                           std::uint64_t now_ms);
  // Answers WantStats.
  ProviderActions stats(std::uint64_t tag, const StatsReply& reply);
  // Answers WantRelease.
  ProviderActions released();
  // Ends the session in any state with ERROR: a refusal, a replaced or ended lease, a data request
  // out of range, shutdown.
  ProviderActions end(WireError code, std::string_view text);

  // ---- what is known ----

  [[nodiscard]] State state() const { return state_; }
  // Data requests may be carried out.
  [[nodiscard]] bool data_allowed() const { return state_ == State::kAttached; }
  // The lease that this connection keeps alive (control) or works on (data). It stays after a
  // close, for the owner's book-keeping, but not after released().
  [[nodiscard]] const std::optional<LeaseId>& lease_id() const { return lease_id_; }
  // Empty before HELLO.
  [[nodiscard]] const std::string& requester_name() const { return requester_name_; }
  [[nodiscard]] std::optional<Role> role() const { return role_; }
  [[nodiscard]] std::uint16_t version() const { return version_; }

 private:
  ProviderActions on_hello(const FrameHeader& header, std::span<const std::byte> body,
                           std::uint64_t now_ms);
  ProviderActions on_auth(const FrameHeader& header, std::span<const std::byte> body,
                          std::uint64_t now_ms);
  [[nodiscard]] std::uint64_t usable_features() const;
  ProviderActions finish_auth(std::uint64_t now_ms);
  ProviderActions on_lease_request(std::span<const std::byte> body, std::uint64_t now_ms);
  ProviderActions on_attach(std::span<const std::byte> body, std::uint64_t now_ms);
  ProviderActions on_error(std::span<const std::byte> body);
  void enter_leased(const LeaseTerms& terms, std::uint64_t now_ms);
  void enter_ready(std::uint64_t now_ms);
  ProviderActions fail_with(WireError code, ErrorCode own_code, std::string_view text);
  ProviderActions close_with(ErrorCode code, std::string_view text, bool orderly);
  [[nodiscard]] std::string peer_text() const;

  ProviderSessionOptions options_;
  State state_ = State::kHello;
  std::uint64_t accepted_at_ms_;
  std::uint64_t last_frame_ms_;
  std::uint64_t next_pending_ms_ = 0;  // in the states that work on an answer
  std::uint64_t tag_ = 0;              // of the frame that is being answered
  std::string requester_name_;
  std::optional<Role> role_;
  std::uint16_t version_ = 0;
  std::uint64_t features_ = 0;
  std::optional<PskHandshake> handshake_;
  std::uint32_t auth_frames_ = 0;
  bool wants_descriptors_ = false;
  std::optional<LeaseId> lease_id_;
  std::uint64_t silence_limit_ms_ = 0;  // in state kLeased
};

}  // namespace rram
