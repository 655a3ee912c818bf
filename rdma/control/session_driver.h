// Carries a RequesterSession over one connected channel: reads frames (and the descriptors that
// come with them), keeps the session's deadlines, sends what it wants sent. Control frames are
// small: a channel that does not take one at once has a peer that does not read, and is given up.
//
// Belongs to the thread of its loop. It may be destroyed before establish() and after end(),
// release() or take_channel().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/event_loop.h"
#include "base/fd.h"
#include "base/gate.h"
#include "base/result.h"
#include "base/task.h"
#include "rdma/control/byte_channel.h"
#include "rdma/held_lease.h"
#include "rdma/session/requester_session.h"
#include "rdma/wire/frame_reader.h"

namespace rram {

// What the connection was made for.
struct Established {
  LeaseTerms terms;
  HelloReply provider;
  std::vector<RegionEntry> regions;   // of a joined lease, if they were asked for
  std::vector<UniqueFd> descriptors;  // of a new lease's regions, if they were asked for
};

class SessionDriver {
 public:
  SessionDriver(EventLoop& loop, std::unique_ptr<ByteChannel> channel,
                RequesterSessionOptions options)
      : loop_(loop),
        channel_(std::move(channel)),
        provider_text_(options.provider_text),
        reply_limit_ns_(options.reply_limit_ms * 1'000'000),
        session_(std::move(options)) {}
  SessionDriver(const SessionDriver&) = delete;
  SessionDriver& operator=(const SessionDriver&) = delete;

  // From HELLO to the lease. The failure is the session's reason, or kTimedOut at `deadline_ns`,
  // which moves on, as far as `longest_ns`, while the provider shows that it makes headway, or
  // kCancelled soon after it was called off; the channel is closed then.
  Task<Result<Established>> establish(std::uint64_t deadline_ns, std::uint64_t longest_ns,
                                      CallOff call_off);

  // A data connection after establish(): nothing has been read beyond the handshake.
  std::unique_ptr<ByteChannel> take_channel() { return std::move(channel_); }

  // A control connection after establish(): keeps it alive. `on_ended` is called once, from the
  // loop, when it ends for any reason.
  // `on_confirmed` is called with lease_valid_until_ms() whenever that has moved on; it may be
  // empty.
  void keep_alive(std::function<void(const Error&)> on_ended,
                  std::function<void(std::uint64_t)> on_confirmed);
  [[nodiscard]] bool is_alive() const { return !ended_; }
  [[nodiscard]] std::uint64_t lease_valid_until_ms() const {
    return session_.lease_valid_until_ms();
  }
  // Gives the lease back if the provider answers until then, and ends the connection.
  Task<> release(std::uint64_t deadline_ns);
  // Ends the connection without a word (the lease lives on for its grace time). Resumes when
  // nothing of this object runs any more.
  Task<> end();

 private:
  // Receives some bytes, or lets the session's next deadline or `limit_ns` pass.
  Task<> step(std::uint64_t limit_ns);
  Task<> serve();
  void take_bytes(std::span<const std::byte> bytes);
  void perform(RequesterActions actions);
  void send(std::span<const std::byte> bytes);
  void start_records(const RecordKeys& keys);
  void finish(const Error& reason);
  void note_delay(const LeaseDelayed& delayed);
  void allow_more_time();
  [[nodiscard]] bool is_cut() const { return ended_.has_value(); }
  [[nodiscard]] Error out_of_time() const;
  [[nodiscard]] Error called_off() const;

  static constexpr std::size_t kReceiveBytes = std::size_t{16} << 10;

  EventLoop& loop_;
  std::unique_ptr<ByteChannel> channel_;
  std::string provider_text_;
  const std::uint64_t reply_limit_ns_;
  std::uint64_t deadline_ns_ = 0;  // of establish(), and how far it may move
  std::uint64_t longest_ns_ = 0;
  RequesterSession session_;
  FrameReader reader_;
  std::array<std::byte, kReceiveBytes> receive_buffer_;
  std::vector<UniqueFd> frame_descriptors_;  // that came with the frame being read
  Established established_;
  bool is_established_ = false;
  std::optional<LeaseDelayed> delayed_;  // the last that the provider said
  std::uint64_t least_missing_bytes_ = UINT64_MAX;
  std::optional<Error> ended_;
  Gate gate_;
  std::function<void(const Error&)> on_ended_;
  std::function<void(std::uint64_t)> on_confirmed_;
};

}  // namespace rram
