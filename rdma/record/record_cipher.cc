#include "rdma/record/record_cipher.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/err.h>

#include <array>
#include <cassert>
#include <cstring>
#include <utility>

namespace rram {

namespace {

// Content type and version, as every TLS 1.3 record has them that carries data.
constexpr std::byte kApplicationData{0x17};
constexpr std::array<std::byte, 3> kRecordStart = {kApplicationData, std::byte{3}, std::byte{3}};

using RecordHeader = std::array<std::byte, kRecordHeaderBytes>;

enum class Direction : std::uint8_t { kOpen = 0, kSeal = 1 };  // as EVP_CipherInit_ex wants it

unsigned char* as_uchar(std::byte* bytes) { return reinterpret_cast<unsigned char*>(bytes); }
const unsigned char* as_uchar(const std::byte* bytes) {
  return reinterpret_cast<const unsigned char*>(bytes);
}

RecordHeader make_header(std::size_t sealed_bytes) {
  return {kRecordStart[0], kRecordStart[1], kRecordStart[2],
          static_cast<std::byte>(sealed_bytes >> 8U), static_cast<std::byte>(sealed_bytes & 0xFFU)};
}

// The key is scheduled once; each record brings its nonce alone.
Result<CipherContext> make_context(const DirectionKey& key, Direction direction) {
  CipherContext context(EVP_CIPHER_CTX_new());
  if (!context ||
      EVP_CipherInit_ex(context.get(), EVP_aes_128_gcm(), nullptr, as_uchar(key.key.data()),
                        nullptr, static_cast<int>(direction)) != 1) {
    ERR_clear_error();
    return fail(ErrorCode::kUnavailable, "OpenSSL cannot set up AES-128-GCM");
  }
  static_assert(kRecordIvBytes == 12, "what AES-GCM takes unless it is told otherwise");
  return context;
}

// RFC 8446, 5.3: the number of the record, big endian, over the end of the IV.
bool begin_record(EVP_CIPHER_CTX* context, RecordIv nonce, std::uint64_t number,
                  const RecordHeader& header) {
  for (std::size_t i = 0; i < sizeof number; ++i) {
    nonce[kRecordIvBytes - 1 - i] ^= static_cast<std::byte>(number >> (8 * i));
  }
  int ignored = 0;
  return EVP_CipherInit_ex(context, nullptr, nullptr, nullptr, as_uchar(nonce.data()), -1) == 1 &&
         EVP_CipherUpdate(context, nullptr, &ignored, as_uchar(header.data()),
                          static_cast<int>(header.size())) == 1;
}

bool pass_bytes(EVP_CIPHER_CTX* context, std::span<const std::byte> from, std::byte* to) {
  int done_bytes = 0;
  return EVP_CipherUpdate(context, as_uchar(to), &done_bytes, as_uchar(from.data()),
                          static_cast<int>(from.size())) == 1 &&
         static_cast<std::size_t>(done_bytes) == from.size();
}

bool end_record(EVP_CIPHER_CTX* context) {
  std::array<unsigned char, 16> nothing{};  // GCM has no last block
  int ignored = 0;
  return EVP_CipherFinal_ex(context, nothing.data(), &ignored) == 1;
}

std::unexpected<Error> used_up(std::uint64_t records) {
  return fail(ErrorCode::kUnavailable,
              fmt::format("the key of this connection is used up after {} records", records));
}

std::unexpected<Error> not_a_record(std::string_view why) {
  ERR_clear_error();
  return fail(ErrorCode::kProtocol, fmt::format("what came is not what the peer sealed: {}", why));
}

}  // namespace

void wipe(std::span<std::byte> bytes) { OPENSSL_cleanse(bytes.data(), bytes.size()); }

// ---- sealing -----------------------------------------------------------------------------------

Result<RecordSealer> RecordSealer::create(const DirectionKey& key, std::uint64_t max_records) {
  Result<CipherContext> context = make_context(key, Direction::kSeal);
  if (!context) return std::unexpected(context.error());
  return RecordSealer(std::move(*context), key, max_records);
}

Result<std::size_t> RecordSealer::seal(std::span<const iovec> parts, std::span<std::byte> record) {
  if (records_ >= max_records_) return used_up(records_);
  std::size_t payload_bytes = 0;
  for (const iovec& part : parts) payload_bytes += part.iov_len;
  assert(payload_bytes > 0 && payload_bytes <= kMaxRecordPayloadBytes);
  assert(record.size() >= payload_bytes + kRecordOverheadBytes);
  const RecordHeader header = make_header(payload_bytes + 1 + kRecordTagBytes);
  std::memcpy(record.data(), header.data(), header.size());
  std::byte* to = record.data() + header.size();
  bool is_sealed = begin_record(context_.get(), iv_, records_, header);
  for (const iovec& part : parts) {
    const std::span from(static_cast<const std::byte*>(part.iov_base), part.iov_len);
    is_sealed = is_sealed && pass_bytes(context_.get(), from, to);
    to += from.size();
  }
  is_sealed = is_sealed && pass_bytes(context_.get(), std::span(&kApplicationData, 1), to) &&
              end_record(context_.get()) &&
              EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_GET_TAG,
                                  static_cast<int>(kRecordTagBytes), to + 1) == 1;
  if (!is_sealed) {
    ERR_clear_error();
    return fail(ErrorCode::kUnavailable, "OpenSSL cannot seal a record");
  }
  ++records_;
  return payload_bytes + kRecordOverheadBytes;
}

// ---- opening -----------------------------------------------------------------------------------

Result<RecordOpener> RecordOpener::create(const DirectionKey& key, std::uint64_t max_records) {
  Result<CipherContext> context = make_context(key, Direction::kOpen);
  if (!context) return std::unexpected(context.error());
  return RecordOpener(std::move(*context), key, max_records);
}

Result<std::size_t> RecordOpener::record_bytes(std::span<const std::byte> bytes) {
  if (bytes.size() < kRecordHeaderBytes) return 0;
  if (std::memcmp(bytes.data(), kRecordStart.data(), kRecordStart.size()) != 0) {
    return not_a_record("it does not begin as a record does");
  }
  const std::size_t length_bytes = kRecordHeaderBytes +
                                   (std::to_integer<std::size_t>(bytes[3]) << 8U) +
                                   std::to_integer<std::size_t>(bytes[4]);
  if (length_bytes <= kRecordOverheadBytes || length_bytes > kMaxRecordBytes) {
    return not_a_record(fmt::format("a record of {} bytes", length_bytes));
  }
  return length_bytes;
}

Result<std::span<const std::byte>> RecordOpener::open(std::span<std::byte> record) {
  if (records_ >= max_records_) return used_up(records_);
  assert(record_bytes(record).value_or(0) == record.size());
  RecordHeader header{};
  std::memcpy(header.data(), record.data(), header.size());
  const std::span<std::byte> tag = record.last(kRecordTagBytes);
  const std::span<std::byte> inner =
      record.subspan(kRecordHeaderBytes, record.size() - kRecordHeaderBytes - kRecordTagBytes);
  const bool is_opened = begin_record(context_.get(), iv_, records_, header) &&
                         pass_bytes(context_.get(), inner, inner.data()) &&
                         EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_SET_TAG,
                                             static_cast<int>(tag.size()), tag.data()) == 1 &&
                         end_record(context_.get());
  if (!is_opened) {
    return not_a_record(
        fmt::format("record {} was changed, repeated, left out or moved on the way", records_));
  }
  ++records_;
  // Neither padding nor records of another kind: our peer sends none.
  if (inner.back() != kApplicationData) return not_a_record("a record that carries no data");
  return std::span<const std::byte>(inner.first(inner.size() - 1));
}

}  // namespace rram
