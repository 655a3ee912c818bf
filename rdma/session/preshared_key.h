// The pre-shared key of a volume's hosts, and the few random values that a provider makes.
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"
#include "rdma/wire/frames.h"

namespace rram {

inline constexpr std::size_t kKeyBytes = 32;

// 32 secret bytes. Wiped when it goes. Copies are allowed: each session has its own. Thread-safe to
// read.
class PresharedKey {
 public:
  explicit PresharedKey(const std::array<std::byte, kKeyBytes>& bytes) : bytes_(bytes) {}
  ~PresharedKey();
  PresharedKey(const PresharedKey&) = default;
  PresharedKey& operator=(const PresharedKey&) = default;
  // No moves of their own: a copy is as cheap, and the source wipes itself.

  [[nodiscard]] const std::array<std::byte, kKeyBytes>& bytes() const { return bytes_; }
  // The base64 form for a key file, without a newline.
  [[nodiscard]] std::string text() const;

 private:
  std::array<std::byte, kKeyBytes> bytes_;
};

// 64 hexadecimal digits or 44 characters of base64, white space around them allowed.
// Errors: kInvalidArgument, with a sentence that does not repeat the text.
Result<PresharedKey> parse_key(std::string_view text);

// A key that was never seen before. Errors: kUnavailable (no randomness on this host).
Result<PresharedKey> generate_key();

// Reads a key file. Errors: kRefused if others could read it (mode wider than 0600, wrong owner) or
// if it is no regular file; kInvalidArgument if its text is no key; the errno's code if it cannot
// be opened. All name the path and what to do.
Result<PresharedKey> load_key_file(const std::filesystem::path& path);

// 16 random bytes, never all zero: an incarnation, a lease id, a token. Errors: kUnavailable.
Result<Bytes16> random_bytes16();

// Compares in a time that does not depend on the content.
bool same_secret(const Bytes16& a, const Bytes16& b);

}  // namespace rram
