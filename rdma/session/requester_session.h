// The requester's side of one connection: a state machine without I/O or clock (docs/protocol.md,
// "Requester: what is accepted in which state"). It goes for its goal by itself: hello, proof of
// the key, lease or attach, heartbeats. Its owner reads frames (FrameReader), feeds them in, and
// carries out the actions that come back. Data replies on a data connection do not pass through
// here. One thread at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "rdma/session/actions.h"
#include "rdma/session/lease_terms.h"
#include "rdma/session/preshared_key.h"
#include "rdma/session/psk_handshake.h"
#include "rdma/wire/codec.h"
#include "rdma/wire/frames.h"

namespace rram {

// What a connection is for. A new lease; control only.
struct TakeLease {
  std::uint64_t wanted_bytes = 0;  // 0: all that is free
  bool descriptors = false;        // needs RequesterSessionOptions::can_take_descriptors
};
// A lease that this requester holds: a lane (data), or control after a cut.
struct JoinLease {
  LeaseTerms terms;            // as LeaseReady brought them
  Incarnation incarnation{};   // of the provider that granted it
  std::uint64_t lane = 0;      // data: which of the lease's lanes, not 0; control: 0
  bool wants_regions = false;  // this connection needs the regions' addresses and keys
};
// Only statistics; control only.
struct ReadStats {};
using RequesterGoal = std::variant<TakeLease, JoinLease, ReadStats>;

struct RequesterSessionOptions {
  std::string requester_name;  // host and mount point
  // The provider in messages, as the user wrote it: "tcp://192.168.64.20:7470".
  std::string provider_text;
  Role role = Role::kControl;
  RequesterGoal goal;
  std::optional<PresharedKey> key;       // set: the provider must prove it
  bool can_take_descriptors = false;     // the connection is a Unix socket
  bool wants_records = false;            // the feature TLS, or nothing: needs a key
  std::uint64_t reply_limit_ms = 5'000;  // for each reply that is waited for
};

class RequesterSession {
 public:
  enum class State : std::uint8_t {
    kStart,
    kHelloSent,
    kAuth,
    kReady,
    kLeaseSent,
    kLeaseWaiting,
    kDescriptors,
    kAttachSent,
    kRegions,
    kLeased,
    kReleaseSent,
    kAttached,
    kClosed,
  };

  explicit RequesterSession(RequesterSessionOptions options);

  // The connection is there: says HELLO.
  RequesterActions start(std::uint64_t now_ms);

  // ---- what the connection brings ----

  // What the owner may read next: for FrameReader::next(). In state kAttached, data replies are
  // allowed besides; they are the transport's to read.
  [[nodiscard]] FrameSet accepted() const;
  // "LEASED"
  [[nodiscard]] std::string_view state_name() const;

  // `descriptor_count`: file descriptors that came with it. The owner keeps them only if the answer
  // has TakeDescriptors.
  RequesterActions on_frame(const FrameHeader& header, std::span<const std::byte> body,
                            std::size_t descriptor_count, std::uint64_t now_ms);
  // The stream is not what the protocol allows; `error` says why (FrameReader, data replies).
  RequesterActions on_malformed(const Error& error);
  // The connection ended or failed. CloseConnection is kDisconnected.
  RequesterActions on_closed();

  // Call on_tick() at this time; UINT64_MAX: at none.
  [[nodiscard]] std::uint64_t next_deadline_ms() const;
  RequesterActions on_tick(std::uint64_t now_ms);

  // ---- what the requester decides ----

  // Gives the lease back and ends the session; without a lease it just ends.
  RequesterActions release(std::uint64_t now_ms);
  // In states kReady and kLeased; does nothing while an earlier question is open.
  RequesterActions request_stats(std::uint64_t now_ms);

  // ---- what is known ----

  [[nodiscard]] State state() const { return state_; }
  // Data requests may be sent.
  [[nodiscard]] bool data_allowed() const { return state_ == State::kAttached; }
  // Set after HELLO_REPLY; with a key it is proved only when the lease is there.
  [[nodiscard]] const std::optional<HelloReply>& hello_reply() const { return hello_reply_; }
  // Until then the provider keeps the lease, though it may hear nothing more from us; every answer
  // moves it on. 0: there is no lease yet.
  [[nodiscard]] std::uint64_t lease_valid_until_ms() const { return lease_valid_until_ms_; }

 private:
  struct Unanswered {
    FrameType type;
    std::uint64_t tag;
    std::uint64_t asked_ms;
    std::uint64_t deadline_ms;
  };

  RequesterActions dispatch(const FrameHeader& header, std::span<const std::byte> body,
                            std::size_t descriptor_count, std::uint64_t now_ms);
  Status check_tag(const FrameHeader& header) const;
  RequesterActions on_hello_reply(const FrameHeader& header, std::span<const std::byte> body,
                                  std::uint64_t now_ms);
  RequesterActions begin_auth(const FrameHeader& header, std::span<const std::byte> body,
                              std::uint64_t now_ms);
  RequesterActions on_auth(std::span<const std::byte> body, std::uint64_t now_ms);
  RequesterActions finish_auth(std::uint64_t now_ms);
  [[nodiscard]] std::uint64_t features() const;
  RequesterActions pursue_goal(std::uint64_t now_ms);
  RequesterActions send_lease_request(std::uint64_t now_ms);
  RequesterActions on_lease_grant(std::span<const std::byte> body, std::uint64_t now_ms);
  RequesterActions on_lease_wait(std::span<const std::byte> body, std::uint64_t now_ms);
  RequesterActions on_region_fds(std::span<const std::byte> body, std::size_t descriptor_count,
                                 std::uint64_t now_ms);
  RequesterActions finish_grant(RequesterActions actions, std::uint64_t now_ms);
  RequesterActions on_pending(std::uint64_t now_ms);
  RequesterActions on_attached(std::span<const std::byte> body, std::uint64_t now_ms);
  RequesterActions on_regions(std::span<const std::byte> body, std::uint64_t now_ms);
  RequesterActions finish_attach(std::uint64_t now_ms);
  RequesterActions on_stats_reply(std::span<const std::byte> body);
  RequesterActions on_error(std::span<const std::byte> body);
  RequesterActions heartbeat(std::uint64_t now_ms);
  void enter_leased(std::uint64_t now_ms);
  FrameBytes ask(FrameBytes frame, FrameType type, std::uint64_t now_ms, std::uint64_t limit_ms);
  [[nodiscard]] std::uint64_t silence_limit_ms() const;
  void confirm_lease();
  RequesterActions fail_with(WireError code, ErrorCode own_code, std::string_view text);
  RequesterActions close_with(ErrorCode code, std::string_view text, bool orderly);

  RequesterSessionOptions options_;
  State state_ = State::kStart;
  std::uint64_t next_tag_ = 1;
  // Requests without an answer, oldest first; answers come in this order.
  std::deque<Unanswered> unanswered_;
  // kAuth, kDescriptors, kRegions: of the next frame; kLeaseWaiting: ask again
  std::uint64_t deadline_ms_ = 0;
  std::uint64_t next_heartbeat_ms_ = 0;
  std::uint64_t lease_valid_until_ms_ = 0;
  FrameBytes hello_frame_;
  std::optional<HelloReply> hello_reply_;
  std::optional<PskHandshake> handshake_;
  std::uint32_t auth_frames_ = 0;
  LeaseTerms terms_;
  std::vector<RegionEntry> regions_;
  std::uint32_t descriptor_regions_ = 0;  // regions whose descriptors have come
};

}  // namespace rram
