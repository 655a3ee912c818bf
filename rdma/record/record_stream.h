// Both directions of a connection that is sealed: between the bytes of frames and those of the
// socket. Pure, without I/O: who owns the socket sends unsent(), and receives into room().
//
// Bytes of frames are cut into records without regard to frames: many small frames share a record,
// a large one takes many. What was received is handed out record by record, and only after the
// whole record was checked.
//
// Owned by whoever carries the connection, the channel of the handshake first, then the lane; one
// thread at a time.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "rdma/record/record_cipher.h"
#include "rdma/record/record_keys.h"

namespace rram {

class RecordStream {
 public:
  // What one send and one receive move at most. Two of these buffers for each connection that ever
  // moved as much; others stay at one record.
  static constexpr std::size_t kMaxRecordsAtOnce = 8;
  static constexpr std::size_t kMaxBufferBytes = kMaxRecordsAtOnce * kMaxRecordBytes;

  // Errors: kUnavailable (OpenSSL refuses to work on this host).
  static Result<std::unique_ptr<RecordStream>> create(const RecordKeys& keys);
  RecordStream(const RecordStream&) = delete;
  RecordStream& operator=(const RecordStream&) = delete;

  // ---- out ----

  // Seals what `parts` describe, from the front, as much as one send takes, and returns how much of
  // it: its memory is free then. Errors: as RecordSealer::seal(); kDisconnected: something is
  // unsent still, which after a send that failed it stays.
  Result<std::size_t> seal(std::span<const iovec> parts);
  Result<std::size_t> seal(std::span<const std::byte> bytes);
  [[nodiscard]] bool has_unsent() const { return sent_bytes_ < sealed_bytes_; }
  [[nodiscard]] std::span<const std::byte> unsent() const {
    return std::span(out_).subspan(sent_bytes_, sealed_bytes_ - sent_bytes_);
  }
  void on_sent(std::size_t sent_bytes) { sent_bytes_ += sent_bytes; }

  // ---- in ----

  // Where the next bytes from the socket go: never empty. Only when opened() has nothing more; it
  // stays valid until on_received().
  std::span<std::byte> room();
  void on_received(std::size_t received_bytes);
  // The next bytes that the peer sealed, valid until room(); empty: they have not all come. Errors:
  // kProtocol, kUnavailable, as RecordOpener; the same each time from then on.
  Result<std::span<const std::byte>> opened();
  // So many of opened() are dealt with.
  void consume(std::size_t consumed_bytes) { payload_ = payload_.subspan(consumed_bytes); }

  // Of the direction that has had more of them.
  [[nodiscard]] std::uint64_t records() const {
    return std::max(sealer_.records(), opener_.records());
  }

 private:
  RecordStream(RecordSealer sealer, RecordOpener opener);

  RecordSealer sealer_;
  std::vector<std::byte> out_;
  std::size_t sealed_bytes_ = 0;
  std::size_t sent_bytes_ = 0;

  RecordOpener opener_;
  // [done][record that payload_ lies in][not opened, up to received_bytes_][room]
  std::vector<std::byte> in_;
  std::span<const std::byte> payload_;
  std::size_t opened_bytes_ = 0;
  std::size_t received_bytes_ = 0;
  Status broken_;
};

}  // namespace rram
