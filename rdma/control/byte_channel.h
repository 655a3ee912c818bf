// One connection as a stream of bytes in both directions: what control frames travel over, whatever
// carries them (a socket, the messages of a queue pair).
//
// Belongs to the thread of its loop. It may be destroyed when nothing is under way: no receive, no
// send, and close() has resumed.
#pragma once

#include <fmt/format.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "base/task.h"
#include "rdma/record/record_keys.h"

namespace rram {

// Why ByteChannel::receive() opens no more records, as the session and its peer are told. nullopt:
// `received` is no such end.
inline std::optional<Error> records_ended(int received) {
  switch (received) {
    case -EBADMSG:
      return Error{ErrorCode::kProtocol,
                   "what came is not what the peer sealed: something on the way changed it, left "
                   "it out, repeated it or moved it"};
    case -EKEYEXPIRED:
      return Error{ErrorCode::kUnavailable,
                   fmt::format("the key of this connection is used up after {} records; a new "
                               "connection has a new one",
                               kMaxRecordsPerKey)};
    default:
      return std::nullopt;
  }
}

class ByteChannel {
 public:
  static constexpr std::uint64_t kNoDeadline = std::numeric_limits<std::uint64_t>::max();

  virtual ~ByteChannel() = default;
  ByteChannel(const ByteChannel&) = delete;
  ByteChannel& operator=(const ByteChannel&) = delete;

  // At least one byte, at most buffer.size(); 0: the peer has ended; -errno: -ETIMEDOUT at the
  // deadline (of EventLoop::now_ns()), -ECANCELED by call_off_receive(), -EHOSTDOWN: the peer, or
  // the network to it, is silent, -EMSGSIZE: descriptors came that this process cannot take,
  // -EBADMSG or -EKEYEXPIRED: records_ended(). One at a time.
  virtual Task<int> receive(std::span<std::byte> buffer, std::uint64_t deadline_ns) = 0;
  // The same at the end of a connection, when nobody looks at the bytes any more: records are not
  // opened.
  virtual Task<int> receive_unread(std::span<std::byte> buffer) {
    return receive(buffer, kNoDeadline);
  }
  // The receive that is under way, if any, ends soon.
  virtual void call_off_receive() = 0;
  // Descriptors that came with the bytes received so far; the caller owns them.
  virtual std::vector<UniqueFd> take_descriptors() { return {}; }

  // All of `bytes`, or -errno. One at a time.
  virtual Task<int> send(std::span<const std::byte> bytes) = 0;
  // The same at once, or false: the peer does not take bytes as fast as they come.
  virtual bool send_now(std::span<const std::byte> bytes) = 0;

  // From now on both directions travel in records. Nothing is under way, and nothing was received
  // beyond what came before. Only where the feature TLS may be granted: over TCP. Errors:
  // kUnavailable (OpenSSL refuses).
  virtual Status start_records(const RecordKeys& /*keys*/) {
    return fail(ErrorCode::kUnavailable, "this connection cannot carry records");
  }

  // Nothing more will be sent; the peer reads to the end of what was.
  virtual void end_sending() = 0;
  // Ends both directions at once: what is under way resumes soon.
  virtual void shut_down() = 0;
  // After shut_down(): nothing of this object is under way any more, and the peer can reach nothing
  // through it.
  virtual Task<> close() = 0;

 protected:
  ByteChannel() = default;
};

}  // namespace rram
