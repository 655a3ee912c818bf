// The proof that both sides of a connection have the same key: TLS 1.3 with an external PSK by
// OpenSSL over memory buffers, then a label and the hash of HELLO and HELLO_REPLY in each direction
// (docs/protocol.md, "Authentication"). Bytes in, bytes out; who carries them is not its business.
// One for each connection, owned by its session, used by one thread at a time.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "rdma/record/record_keys.h"
#include "rdma/session/preshared_key.h"

namespace rram {

class PskHandshake {
 public:
  // The frames are whole, headers included, exactly as they were sent. Errors: kUnavailable
  // (OpenSSL refuses to work on this host).
  static Result<PskHandshake> requester(const PresharedKey& key,
                                        std::span<const std::byte> hello_frame,
                                        std::span<const std::byte> hello_reply_frame);
  static Result<PskHandshake> provider(const PresharedKey& key,
                                       std::span<const std::byte> hello_frame,
                                       std::span<const std::byte> hello_reply_frame);

  PskHandshake(PskHandshake&&) noexcept;
  PskHandshake& operator=(PskHandshake&&) noexcept;
  ~PskHandshake();

  // Takes bytes from the peer (none to begin, on the requester's side) and returns the bytes to
  // send to it, which may be none. Errors: kRefused, with a sentence for a person; the handshake is
  // over.
  Result<std::vector<std::byte>> advance(std::span<const std::byte> from_peer);

  // The peer has proved the key, and everything that it needs for its side has been returned.
  [[nodiscard]] bool done() const;

  // When done(): keys for the records that follow, where both have agreed on them. They are of this
  // connection alone, and of the HELLO frames that it began with. Errors: kUnavailable.
  [[nodiscard]] Result<RecordKeys> record_keys() const;

 private:
  struct State;
  explicit PskHandshake(std::unique_ptr<State> state);
  static Result<PskHandshake> make(bool is_requester, const PresharedKey& key,
                                   std::span<const std::byte> hello_frame,
                                   std::span<const std::byte> hello_reply_frame);

  std::unique_ptr<State> state_;
};

}  // namespace rram
