// One direction of a connection as records of TLS 1.3 (RFC 8446, 5.2) with AES-128-GCM by OpenSSL:
// the sealer makes them, the opener checks them. Pure: bytes in, bytes out.
//
//   [0x17 0x03 0x03][length, 2 bytes, big endian][what is sealed][0x17, sealed too][tag, 16 bytes]
//
// Records are numbered from 0 in each direction. The number is not sent: it is part of the nonce,
// so a record that was changed, repeated, left out or put in another order does not open.
//
// Each belongs to one RecordStream and its thread.
#pragma once

#include <openssl/evp.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "base/result.h"
#include "rdma/record/record_keys.h"

namespace rram {

// Bytes that one record carries at most.
inline constexpr std::size_t kMaxRecordPayloadBytes = std::size_t{16} << 10;
inline constexpr std::size_t kRecordHeaderBytes = 5;
inline constexpr std::size_t kRecordTagBytes = 16;
// What a record is longer than its payload: header, content type and tag.
inline constexpr std::size_t kRecordOverheadBytes = kRecordHeaderBytes + 1 + kRecordTagBytes;
inline constexpr std::size_t kMaxRecordBytes = kMaxRecordPayloadBytes + kRecordOverheadBytes;

struct CipherContextDeleter {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, CipherContextDeleter>;

class RecordSealer {
 public:
  // `max_records`: less than kMaxRecordsPerKey in tests. Errors: kUnavailable (OpenSSL refuses).
  static Result<RecordSealer> create(const DirectionKey& key,
                                     std::uint64_t max_records = kMaxRecordsPerKey);

  // Seals the bytes of `parts`, 1 to kMaxRecordPayloadBytes together, into `record`, which has room
  // for kRecordOverheadBytes more than they are, and shares no memory with them. Each byte is read
  // once: memory that somebody changes meanwhile makes a record of the one content or the other.
  // Returns the record's length. Errors: kUnavailable: the key has sealed all that it may.
  Result<std::size_t> seal(std::span<const iovec> parts, std::span<std::byte> record);

  [[nodiscard]] std::uint64_t records() const { return records_; }

 private:
  RecordSealer(CipherContext context, const DirectionKey& key, std::uint64_t max_records)
      : context_(std::move(context)), iv_(key.iv), max_records_(max_records) {}

  CipherContext context_;
  RecordIv iv_;
  std::uint64_t max_records_;
  std::uint64_t records_ = 0;  // the number of the next one
};

class RecordOpener {
 public:
  static Result<RecordOpener> create(const DirectionKey& key,
                                     std::uint64_t max_records = kMaxRecordsPerKey);

  // The length of the record that begins with `bytes`; 0: its header has not come yet. Errors:
  // kProtocol: this is no record.
  static Result<std::size_t> record_bytes(std::span<const std::byte> bytes);

  // Opens a whole record (record_bytes() of them) where it lies, and returns its payload within it,
  // at least one byte. Errors: kProtocol: it is not the next one that the peer sealed; the stream
  // is of no use afterwards, and what lies in `record` is to be used by nobody. kUnavailable: the
  // key has opened all that it may.
  Result<std::span<const std::byte>> open(std::span<std::byte> record);

  [[nodiscard]] std::uint64_t records() const { return records_; }

 private:
  RecordOpener(CipherContext context, const DirectionKey& key, std::uint64_t max_records)
      : context_(std::move(context)), iv_(key.iv), max_records_(max_records) {}

  CipherContext context_;
  RecordIv iv_;
  std::uint64_t max_records_;
  std::uint64_t records_ = 0;
};

}  // namespace rram
