// What goes out and what comes in on one data connection, as pure logic: which bytes of which
// Operation are sent next, where the next received bytes belong, which Operations are done. No I/O
// and no clock; TcpLane does those.
//
// Requests are answered in the order in which they were sent, so one list in that order is all the
// state there is. The payload of a reply is received into Operation::local itself, and so are the
// replies behind it: one receive can finish many Operations.
//
// Belongs to one TcpLane and its thread.
#pragma once

#include <sys/uio.h>

#include <array>
#include <boost/intrusive/list.hpp>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "rdma/transport.h"
#include "rdma/wire/frames.h"

namespace rram {

class DataStream {
 public:
  DataStream() = default;
  DataStream(const DataStream&) = delete;
  DataStream& operator=(const DataStream&) = delete;

  // `operation` will be sent and answered after all that were pushed before it. Its scratch is ours
  // until take_finished() or take_any() returns it.
  void push(Operation& operation);

  [[nodiscard]] bool is_empty() const { return operations_.empty(); }
  [[nodiscard]] bool has_unsent() const { return next_send_ != operations_.end(); }
  // True if bytes of a reply are still to come.
  [[nodiscard]] bool awaits_reply() const { return next_reply_ != operations_.end(); }

  // Describes the next bytes to send: returns how many of `parts` were filled, 0 if nothing is to
  // be sent. The parts stay valid until on_sent().
  std::size_t plan_send(std::span<iovec> parts);
  void on_sent(std::size_t sent_bytes);

  struct ReceivePlan {
    std::size_t parts = 0;      // of the caller's parts: how many were filled
    bool wait_for_all = false;  // worth waiting until every byte of it has come
  };
  // Describes where the next bytes from the provider go. If no reply is awaited, that is a small
  // buffer for a frame that nobody asked for (an ERROR). The parts stay valid until on_received().
  ReceivePlan plan_receive(std::span<iovec> parts);
  // `received_bytes`, not 0, of what plan_receive() described have come. A failure ends the
  // connection: kProtocol with what was wrong, or what the provider's ERROR frame says.
  Status on_received(std::size_t received_bytes);
  // True if the connection may end here: not in the middle of a frame.
  [[nodiscard]] bool is_between_frames() const { return reply_bytes_ == 0 && stray_bytes_ == 0; }

  // The oldest Operation, if its request has left completely and its reply has come completely.
  Operation* take_finished();
  // The oldest Operation, finished or not. Only when nothing is being sent or received any more.
  Operation* take_any();

  // The oldest Operation whose deadline has passed.
  [[nodiscard]] const Operation* find_overdue(std::uint64_t now_ns) const;

 private:
  using Operations = boost::intrusive::list<Operation, boost::intrusive::constant_time_size<false>>;
  static constexpr std::size_t kMaxStrayBytes =
      sizeof(FrameHeader) + sizeof(ErrorHead) + kMaxErrorTextBytes;

  Status check_reply_header();
  // `bytes` more bytes lie behind the header of the current reply, in the places planned for it.
  void collect_error_body(std::size_t bytes);
  Status check_stray();

  Operations operations_;  // oldest first
  std::uint64_t next_tag_ = 1;

  Operations::iterator next_send_ = operations_.end();  // the first that has not left completely
  std::size_t sent_bytes_ = 0;                          // of its request and payload
  std::uint64_t first_unsent_tag_ = 1;

  Operations::iterator next_reply_ = operations_.end();  // the first that is not answered
  std::size_t reply_bytes_ = 0;                          // received of its reply
  std::uint64_t first_unanswered_tag_ = 1;

  // A frame that is no reply: an ERROR, or garbage.
  std::array<std::byte, kMaxStrayBytes> stray_;
  std::size_t stray_bytes_ = 0;
};

}  // namespace rram
