// The keys of one connection's records, one for each direction (docs/protocol.md, "Records"). They
// come from the TLS exporter of the proof, PskHandshake::record_keys(), and are used for one
// connection only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace rram {

inline constexpr std::size_t kRecordKeyBytes = 16;  // AES-128
inline constexpr std::size_t kRecordIvBytes = 12;
// The most that one key may seal. RFC 8446, 5.5, counts 2^24.5 full records as safe.
inline constexpr std::uint64_t kMaxRecordsPerKey = std::uint64_t{1} << 24;

// Zeroes them, also where a compiler would leave a write out because nobody reads it.
void wipe(std::span<std::byte> bytes);

// Secret; wiped when it goes.
template <std::size_t kSize>
struct SecretBytes : std::array<std::byte, kSize> {
  SecretBytes() : std::array<std::byte, kSize>{} {}
  SecretBytes(const SecretBytes&) = default;
  SecretBytes& operator=(const SecretBytes&) = default;
  // No moves of their own: a copy is as cheap, and the source wipes itself.
  ~SecretBytes() { wipe(*this); }
};

using RecordIv = SecretBytes<kRecordIvBytes>;

struct DirectionKey {
  SecretBytes<kRecordKeyBytes> key;
  RecordIv iv;
};

// As one side sees them: what it sends, the other receives.
struct RecordKeys {
  DirectionKey send;
  DirectionKey receive;
};

}  // namespace rram
