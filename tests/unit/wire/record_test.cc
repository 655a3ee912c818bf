// Records: what is sealed opens on the other side and nowhere else, and nothing that was touched on
// the way does. The format is checked against AES-128-GCM used directly, without our code.
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "rdma/record/record_cipher.h"
#include "rdma/record/record_stream.h"

namespace rram::test {
namespace {

using Bytes = std::vector<std::byte>;

DirectionKey make_key(std::uint8_t seed) {
  DirectionKey key;
  for (std::size_t i = 0; i < key.key.size(); ++i) key.key[i] = std::byte(seed + i);
  for (std::size_t i = 0; i < key.iv.size(); ++i) key.iv[i] = std::byte(0xA0 ^ (seed + i));
  return key;
}

Bytes make_bytes(std::size_t count, std::uint8_t seed = 1) {
  Bytes bytes(count);
  std::uint32_t state = seed;
  for (std::byte& byte : bytes) byte = std::byte((state = state * 1664525U + 1013904223U) >> 24U);
  return bytes;
}

iovec part_of(Bytes& bytes) { return {bytes.data(), bytes.size()}; }

Bytes seal(RecordSealer& sealer, Bytes payload) {
  Bytes record(payload.size() + kRecordOverheadBytes);
  const iovec part = part_of(payload);
  const auto length = sealer.seal({&part, 1}, record);
  EXPECT_TRUE(length) << length.error().message;
  EXPECT_EQ(*length, record.size());
  return record;
}

// A copy: what did not open must not be looked at.
Result<Bytes> open(RecordOpener& opener, Bytes record) {
  const auto length = RecordOpener::record_bytes(record);
  if (!length) return std::unexpected(length.error());
  EXPECT_EQ(*length, record.size());
  const auto payload = opener.open(record);
  if (!payload) return std::unexpected(payload.error());
  return Bytes(payload->begin(), payload->end());
}

RecordSealer make_sealer(std::uint8_t seed = 1) {
  return std::move(RecordSealer::create(make_key(seed)).value());
}
RecordOpener make_opener(std::uint8_t seed = 1) {
  return std::move(RecordOpener::create(make_key(seed)).value());
}

void expect_refused(RecordOpener& opener, Bytes record, const std::string& what) {
  const auto opened = open(opener, std::move(record));
  ASSERT_FALSE(opened) << what;
  EXPECT_EQ(opened.error().code, ErrorCode::kProtocol) << what;
  EXPECT_NE(opened.error().message.find("not what the peer sealed"), std::string::npos)
      << opened.error().message;
}

// ---- one record --------------------------------------------------------------------------------

// The record that RFC 8446, 5.2 and 5.3, makes of this, by OpenSSL's one-shot cipher.
Bytes reference_record(const DirectionKey& key, std::uint64_t number, const Bytes& payload) {
  std::array<unsigned char, kRecordIvBytes> nonce{};
  std::memcpy(nonce.data(), key.iv.data(), nonce.size());
  for (std::size_t i = 0; i < 8; ++i) {
    nonce[4 + i] ^= static_cast<unsigned char>(number >> (56 - 8 * i));
  }
  Bytes inner = payload;
  inner.push_back(std::byte{23});
  const std::size_t length = inner.size() + 16;
  Bytes record(5 + length);
  const std::array header{std::byte{23}, std::byte{3}, std::byte{3}, std::byte(length >> 8U),
                          std::byte(length & 0xFFU)};
  std::ranges::copy(header, record.begin());
  const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context(
      EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  const auto* key_bytes = reinterpret_cast<const unsigned char*>(key.key.data());
  auto* at = reinterpret_cast<unsigned char*>(record.data());
  int count = 0;
  EXPECT_EQ(EVP_EncryptInit_ex(context.get(), EVP_aes_128_gcm(), nullptr, key_bytes, nonce.data()),
            1);
  EXPECT_EQ(EVP_EncryptUpdate(context.get(), nullptr, &count, at, 5), 1);
  EXPECT_EQ(EVP_EncryptUpdate(context.get(), at + 5, &count,
                              reinterpret_cast<unsigned char*>(inner.data()),
                              static_cast<int>(inner.size())),
            1);
  EXPECT_EQ(EVP_EncryptFinal_ex(context.get(), at + 5 + count, &count), 1);
  EXPECT_EQ(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, 16,
                                record.data() + record.size() - 16),
            1);
  return record;
}

TEST(Record, is_what_tls_1_3_makes_of_the_same_key_number_and_payload) {
  RecordSealer sealer = make_sealer();
  for (std::uint64_t number = 0; number < 300; ++number) {
    const Bytes payload = make_bytes(1 + number * 53, static_cast<std::uint8_t>(number));
    ASSERT_EQ(seal(sealer, payload), reference_record(make_key(1), number, payload)) << number;
  }
}

// RFC 8448, 3, "Simple 1-RTT Handshake": the client's first record of application data.
TEST(Record, is_the_one_of_the_trace_in_rfc_8448) {
  DirectionKey key;
  const std::array<std::uint8_t, 16> key_bytes = {0x17, 0x42, 0x2d, 0xda, 0x59, 0x6e, 0xd5, 0xd9,
                                                  0xac, 0xd8, 0x90, 0xe3, 0xc6, 0x3f, 0x50, 0x51};
  const std::array<std::uint8_t, 12> iv_bytes = {0x5b, 0x78, 0x92, 0x3d, 0xee, 0x08,
                                                 0x57, 0x90, 0x33, 0xe5, 0x23, 0xd9};
  std::memcpy(key.key.data(), key_bytes.data(), key_bytes.size());
  std::memcpy(key.iv.data(), iv_bytes.data(), iv_bytes.size());
  Bytes payload(50);
  for (std::size_t i = 0; i < payload.size(); ++i) payload[i] = std::byte(i);
  const std::array<std::uint8_t, 72> expected = {
      0x17, 0x03, 0x03, 0x00, 0x43, 0xa2, 0x3f, 0x70, 0x54, 0xb6, 0x2c, 0x94, 0xd0, 0xaf, 0xfa,
      0xfe, 0x82, 0x28, 0xba, 0x55, 0xcb, 0xef, 0xac, 0xea, 0x42, 0xf9, 0x14, 0xaa, 0x66, 0xbc,
      0xab, 0x3f, 0x2b, 0x98, 0x19, 0xa8, 0xa5, 0xb4, 0x6b, 0x39, 0x5b, 0xd5, 0x4a, 0x9a, 0x20,
      0x44, 0x1e, 0x2b, 0x62, 0x97, 0x4e, 0x1f, 0x5a, 0x62, 0x92, 0xa2, 0x97, 0x70, 0x14, 0xbd,
      0x1e, 0x3d, 0xea, 0xe6, 0x3a, 0xee, 0xbb, 0x21, 0x69, 0x49, 0x15, 0xe4};
  RecordSealer sealer = std::move(RecordSealer::create(key).value());
  const Bytes record = seal(sealer, payload);
  ASSERT_EQ(record.size(), expected.size());
  EXPECT_EQ(std::memcmp(record.data(), expected.data(), expected.size()), 0);
  RecordOpener opener = std::move(RecordOpener::create(key).value());
  EXPECT_EQ(open(opener, record).value(), payload);
}

TEST(Record, opens_to_what_was_sealed_at_every_size_in_any_parts) {
  RecordSealer sealer = make_sealer();
  RecordOpener opener = make_opener();
  for (const std::size_t size : {1UL, 2UL, 15UL, 16UL, 17UL, 4096UL, 16383UL, 16384UL}) {
    for (const std::size_t first : {std::size_t{0}, size / 3, size / 2, size - 1}) {
      Bytes payload = make_bytes(size);
      const std::array<iovec, 3> parts = {
          iovec{payload.data(), first}, iovec{payload.data() + first, (size - first) / 2},
          iovec{payload.data() + first + (size - first) / 2, size - first - (size - first) / 2}};
      Bytes record(size + kRecordOverheadBytes);
      ASSERT_EQ(sealer.seal(parts, record).value(), record.size());
      ASSERT_EQ(open(opener, record).value(), payload) << size << " " << first;
    }
  }
}

TEST(Record, any_changed_bit_makes_it_unopenable) {
  RecordSealer sealer = make_sealer();
  const Bytes record = seal(sealer, make_bytes(40));
  for (std::size_t bit = 0; bit < record.size() * 8; ++bit) {
    RecordOpener opener = make_opener();
    Bytes changed = record;
    changed[bit / 8] ^= std::byte{1} << (bit % 8);
    const auto length = RecordOpener::record_bytes(changed);
    if (length && *length != changed.size()) {  // it would wait for more, or end earlier
      changed.resize(*length);
    }
    expect_refused(opener, changed, std::to_string(bit));
  }
}

TEST(Record, repeated_left_out_or_moved_does_not_open) {
  RecordSealer sealer = make_sealer();
  const Bytes first = seal(sealer, make_bytes(100, 1));
  const Bytes second = seal(sealer, make_bytes(100, 2));
  RecordOpener repeated = make_opener();
  ASSERT_TRUE(open(repeated, first));
  expect_refused(repeated, first, "repeated");
  RecordOpener moved = make_opener();
  expect_refused(moved, second, "the first one left out");
}

TEST(Record, of_another_key_or_of_the_other_direction_does_not_open) {
  RecordSealer sealer = make_sealer(1);
  RecordOpener opener = make_opener(2);
  expect_refused(opener, seal(sealer, make_bytes(10)), "another key");
}

TEST(Record, that_is_none_is_refused_from_its_header) {
  const auto header = [](int type, int major, int minor, std::size_t length) {
    return Bytes{std::byte(type), std::byte(major), std::byte(minor), std::byte(length >> 8U),
                 std::byte(length & 0xFFU)};
  };
  EXPECT_EQ(RecordOpener::record_bytes(header(23, 3, 3, 18)).value(), 23);
  EXPECT_EQ(RecordOpener::record_bytes(header(23, 3, 3, 16401)).value(), kMaxRecordBytes);
  EXPECT_EQ(RecordOpener::record_bytes(Bytes(4)).value(), 0);
  for (const Bytes& wrong : {header(21, 3, 3, 100), header(22, 3, 3, 100), header(23, 3, 1, 100),
                             header(0, 0, 0, 16), header(23, 3, 3, 0), header(23, 3, 3, 17),
                             header(23, 3, 3, 16402), header(23, 3, 3, 65535)}) {
    const auto length = RecordOpener::record_bytes(wrong);
    ASSERT_FALSE(length);
    EXPECT_EQ(length.error().code, ErrorCode::kProtocol);
  }
}

TEST(Record, a_key_seals_and_opens_no_more_than_its_limit) {
  RecordSealer sealer = std::move(RecordSealer::create(make_key(1), 3).value());
  RecordOpener opener = std::move(RecordOpener::create(make_key(1), 2).value());
  std::vector<Bytes> records;
  for (int i = 0; i < 3; ++i) records.push_back(seal(sealer, make_bytes(10)));
  Bytes payload = make_bytes(10);
  Bytes room(100);
  const iovec part = part_of(payload);
  const auto fourth = sealer.seal({&part, 1}, room);
  ASSERT_FALSE(fourth);
  EXPECT_NE(fourth.error().message.find("used up after 3 records"), std::string::npos);
  EXPECT_TRUE(open(opener, records[0]));
  EXPECT_TRUE(open(opener, records[1]));
  const auto third = open(opener, records[2]);
  ASSERT_FALSE(third);
  EXPECT_NE(third.error().message.find("used up after 2 records"), std::string::npos);
  EXPECT_EQ(third.error().code, ErrorCode::kUnavailable) << "the record itself is as it was sealed";
}

// Of what `made` was moved to, `secret` is gone once that is destroyed.
template <typename Object>
void expect_wiped(Object&& made, std::span<const std::byte> secret) {
  alignas(Object) std::array<std::byte, sizeof(Object)> room{};
  const auto has_secret = [&] { return !std::ranges::search(room, secret).empty(); };
  auto* object = ::new (room.data()) Object(std::forward<Object>(made));
  EXPECT_TRUE(has_secret()) << "or this looks for the wrong bytes";
  object->~Object();
  EXPECT_FALSE(has_secret());
}

TEST(Record, who_had_a_key_leaves_nothing_of_it_behind) {
  const DirectionKey key = make_key(1);
  expect_wiped(DirectionKey(key), key.key);
  expect_wiped(DirectionKey(key), key.iv);
  expect_wiped(make_sealer(), key.iv);
  expect_wiped(make_opener(), key.iv);
}

// ---- streams -----------------------------------------------------------------------------------

struct StreamPair {
  std::unique_ptr<RecordStream> from;
  std::unique_ptr<RecordStream> to;
};

StreamPair make_streams() {
  RecordKeys keys;
  keys.send = make_key(1);
  keys.receive = make_key(7);
  RecordKeys mirrored;
  mirrored.send = keys.receive;
  mirrored.receive = keys.send;
  return {std::move(RecordStream::create(keys).value()),
          std::move(RecordStream::create(mirrored).value())};
}

// All of it, as it goes to the socket.
Bytes seal_all(RecordStream& stream, Bytes payload) {
  Bytes wire;
  for (std::size_t at = 0; at < payload.size();) {
    const iovec part{payload.data() + at, payload.size() - at};
    const auto sealed = stream.seal({&part, 1});
    EXPECT_TRUE(sealed) << sealed.error().message;
    at += *sealed;
    // In two sends: sockets take what they like.
    const std::size_t half_bytes = stream.unsent().size() / 2;
    for (const std::size_t sent_bytes : {half_bytes, stream.unsent().size() - half_bytes}) {
      const std::span<const std::byte> sent = stream.unsent().first(sent_bytes);
      wire.insert(wire.end(), sent.begin(), sent.end());
      stream.on_sent(sent_bytes);
    }
    EXPECT_FALSE(stream.has_unsent());
  }
  return wire;
}

// Takes the wire's bytes in pieces of `piece`, and the payload in pieces of `take`.
Result<Bytes> open_all(RecordStream& stream, std::span<const std::byte> wire, std::size_t piece,
                       std::size_t take) {
  Bytes payload;
  for (;;) {
    const auto opened = stream.opened();
    if (!opened) return std::unexpected(opened.error());
    if (!opened->empty()) {
      const auto part = opened->first(std::min(take, opened->size()));
      payload.insert(payload.end(), part.begin(), part.end());
      stream.consume(part.size());
      continue;
    }
    if (wire.empty()) return payload;
    const std::span<std::byte> room = stream.room();
    EXPECT_FALSE(room.empty());
    const auto part = wire.first(std::min({piece, room.size(), wire.size()}));
    std::ranges::copy(part, room.begin());
    stream.on_received(part.size());
    wire = wire.subspan(part.size());
  }
}

TEST(RecordStream, carries_any_amount_in_any_pieces) {
  for (const std::size_t size : {1UL, 16384UL, 16385UL, 131072UL, 131073UL, (1UL << 20) + 7}) {
    for (const std::size_t piece : {1000UL, 16406UL, 70'000UL, 1UL << 20}) {
      StreamPair pair = make_streams();
      const Bytes payload = make_bytes(size);
      const Bytes wire = seal_all(*pair.from, payload);
      const std::size_t records = (size + kMaxRecordPayloadBytes - 1) / kMaxRecordPayloadBytes;
      EXPECT_EQ(wire.size(), size + records * kRecordOverheadBytes);
      EXPECT_EQ(pair.from->records(), records);
      ASSERT_EQ(open_all(*pair.to, wire, piece, 5000).value(), payload) << size << " " << piece;
      EXPECT_EQ(pair.to->records(), records);
    }
  }
}

TEST(RecordStream, byte_by_byte) {
  StreamPair pair = make_streams();
  const Bytes payload = make_bytes(300);
  EXPECT_EQ(open_all(*pair.to, seal_all(*pair.from, payload), 1, 1).value(), payload);
}

TEST(RecordStream, many_small_parts_share_a_record) {
  StreamPair pair = make_streams();
  std::vector<Bytes> frames;
  Bytes payload;
  for (std::uint8_t i = 0; i < 100; ++i) {
    frames.push_back(make_bytes(16 + i, i));
    payload.insert(payload.end(), frames.back().begin(), frames.back().end());
  }
  std::vector<iovec> parts;
  for (Bytes& frame : frames) parts.push_back(part_of(frame));
  EXPECT_EQ(pair.from->seal(parts).value(), payload.size());
  EXPECT_EQ(pair.from->records(), 1);
  const Bytes wire(pair.from->unsent().begin(), pair.from->unsent().end());
  EXPECT_EQ(open_all(*pair.to, wire, wire.size(), payload.size()).value(), payload);
}

TEST(RecordStream, one_send_takes_no_more_than_its_buffer_and_says_how_much) {
  StreamPair pair = make_streams();
  Bytes payload = make_bytes(RecordStream::kMaxBufferBytes * 2);
  const iovec part = part_of(payload);
  EXPECT_EQ(pair.from->seal({&part, 1}).value(),
            RecordStream::kMaxRecordsAtOnce * kMaxRecordPayloadBytes);
  EXPECT_EQ(pair.from->unsent().size(), RecordStream::kMaxBufferBytes);
}

TEST(RecordStream, after_a_send_that_was_cut_short_nothing_more_is_sealed) {
  StreamPair pair = make_streams();
  const Bytes payload = make_bytes(100);
  ASSERT_TRUE(pair.from->seal(payload));
  pair.from->on_sent(50);
  const auto again = pair.from->seal(payload);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kDisconnected);
}

TEST(RecordStream, nothing_of_a_changed_record_or_behind_it_comes_out) {
  const Bytes payload = make_bytes(100'000);
  StreamPair honest = make_streams();
  const Bytes wire = seal_all(*honest.from, payload);
  for (const std::size_t at : {std::size_t{0}, std::size_t{5}, std::size_t{16'400},
                               std::size_t{16'406}, wire.size() / 2, wire.size() - 1}) {
    StreamPair pair = make_streams();
    Bytes changed = wire;
    changed[at] ^= std::byte{1};
    std::size_t came_out = 0;
    for (std::size_t sent = 0; sent < changed.size();) {
      const std::span<std::byte> room = pair.to->room();
      const std::size_t count = std::min(room.size(), changed.size() - sent);
      std::copy_n(changed.begin() + static_cast<std::ptrdiff_t>(sent), count, room.begin());
      pair.to->on_received(count);
      sent += count;
      auto opened = pair.to->opened();
      for (; opened && !opened->empty(); opened = pair.to->opened()) {
        came_out += opened->size();
        pair.to->consume(opened->size());
      }
      if (!opened) break;
    }
    EXPECT_FALSE(pair.to->opened()) << at;
    EXPECT_FALSE(pair.to->opened()) << "it stays broken";
    EXPECT_EQ(came_out, at / kMaxRecordBytes * kMaxRecordPayloadBytes) << at;
  }
}

TEST(RecordStream, an_end_within_a_record_gives_nothing_of_it) {
  StreamPair pair = make_streams();
  const Bytes wire = seal_all(*pair.from, make_bytes(1000));
  EXPECT_TRUE(open_all(*pair.to, std::span(wire).first(wire.size() - 1), 64, 64).value().empty());
}

TEST(RecordStream, what_one_side_sent_does_not_open_when_it_comes_back_to_it) {
  StreamPair pair = make_streams();
  EXPECT_FALSE(open_all(*pair.from, seal_all(*pair.from, make_bytes(10)), 100, 100));
}

}  // namespace
}  // namespace rram::test
