#include "rdma/session/preshared_key.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/fd.h"

namespace rram {

namespace {

using KeyArray = std::array<std::byte, kKeyBytes>;

constexpr std::size_t kHexCharacters = 2 * kKeyBytes;
constexpr std::size_t kBase64Characters = 44;
// A key file is 65 bytes at most; anything much longer is some other file.
constexpr std::size_t kMaxKeyFileBytes = 256;
constexpr unsigned kAllowedMode = 0600;
constexpr std::string_view kWhiteSpace = " \t\r\n";

// OpenSSL speaks unsigned char, the rest of the tree std::byte.
const unsigned char* as_uchar(const std::byte* bytes) {
  return reinterpret_cast<const unsigned char*>(bytes);
}
unsigned char* as_uchar(std::byte* bytes) { return reinterpret_cast<unsigned char*>(bytes); }

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kWhiteSpace);
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(kWhiteSpace) - first + 1);
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  if (c >= 'a' && c <= 'f') {
    return c - 'a' + 10;
  }
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

Result<PresharedKey> key_from_hex(std::string_view text) {
  KeyArray bytes;
  for (std::size_t i = 0; i < kKeyBytes; ++i) {
    const int high = hex_value(text[2 * i]);
    const int low = hex_value(text[2 * i + 1]);
    if (high < 0 || low < 0) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("the key has 64 characters, but character {} is no hexadecimal digit",
                              high < 0 ? 2 * i : 2 * i + 1));
    }
    bytes[i] = static_cast<std::byte>(high * 16 + low);
  }
  PresharedKey key(bytes);
  OPENSSL_cleanse(bytes.data(), bytes.size());
  return key;
}

Result<PresharedKey> key_from_base64(std::string_view text) {
  // One more than the key: OpenSSL counts the padding as a byte.
  std::array<unsigned char, kKeyBytes + 1> decoded{};
  std::array<unsigned char, kBase64Characters + 1> source{};
  std::copy(text.begin(), text.end(), source.begin());
  const int count = EVP_DecodeBlock(decoded.data(), source.data(), kBase64Characters);
  KeyArray bytes;
  std::memcpy(bytes.data(), decoded.data(), kKeyBytes);
  PresharedKey key(bytes);
  OPENSSL_cleanse(bytes.data(), bytes.size());
  OPENSSL_cleanse(decoded.data(), decoded.size());
  OPENSSL_cleanse(source.data(), source.size());
  // OpenSSL forgives white space and stray bits; one key has one text.
  if (count != kKeyBytes + 1 || key.text() != text) {
    return fail(ErrorCode::kInvalidArgument,
                "the key has 44 characters, but they are not the base64 text of 32 bytes");
  }
  return key;
}

// Whether the open file is one that only its owner can read.
Status check_key_file(int descriptor, const std::string& path) {
  struct stat info{};
  if (::fstat(descriptor, &info) != 0) {
    return fail_errno(errno, fmt::format("key file {}", path));
  }
  if (!S_ISREG(info.st_mode)) {
    return fail(ErrorCode::kRefused, fmt::format("key file {} is not a regular file", path));
  }
  const unsigned mode = info.st_mode & 07777U;
  if ((mode & ~kAllowedMode) != 0) {
    return fail(ErrorCode::kRefused,
                fmt::format("key file {} has mode {:04o}, wider than 0600: a secret that others "
                            "can reach is none; run: chmod 600 {}",
                            path, mode, path));
  }
  if (info.st_uid != 0 && info.st_uid != ::geteuid()) {
    return fail(ErrorCode::kRefused,
                fmt::format("key file {} belongs to user {}, not to this user ({}) or root: its "
                            "owner could read and change the key",
                            path, info.st_uid, ::geteuid()));
  }
  return {};
}

}  // namespace

PresharedKey::~PresharedKey() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

std::string PresharedKey::text() const {
  std::array<unsigned char, kBase64Characters + 1> encoded{};
  EVP_EncodeBlock(encoded.data(), as_uchar(bytes_.data()), kKeyBytes);
  std::string result(encoded.begin(), encoded.begin() + kBase64Characters);
  OPENSSL_cleanse(encoded.data(), encoded.size());
  return result;
}

Result<PresharedKey> parse_key(std::string_view text) {
  const std::string_view key = trimmed(text);
  if (key.size() == kHexCharacters) {
    return key_from_hex(key);
  }
  if (key.size() == kBase64Characters) {
    return key_from_base64(key);
  }
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("a key is 64 hexadecimal digits or 44 characters of base64 (32 bytes), "
                          "but this text has {} characters",
                          key.size()));
}

Result<PresharedKey> generate_key() {
  KeyArray bytes;
  if (RAND_priv_bytes(as_uchar(bytes.data()), kKeyBytes) != 1) {
    return fail(ErrorCode::kUnavailable, "no random numbers for a key on this host");
  }
  PresharedKey key(bytes);
  OPENSSL_cleanse(bytes.data(), bytes.size());
  return key;
}

Result<PresharedKey> load_key_file(const std::filesystem::path& path) {
  const std::string name = path.string();
  // Checks go to the open file, not to the path: it cannot be exchanged in between. O_NONBLOCK, or
  // a FIFO would hold the open for ever.
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file) {
    return fail_errno(errno, fmt::format("key file {}", name));
  }
  if (Status status = check_key_file(file.get(), name); !status) {
    return std::unexpected(std::move(status).error());
  }
  std::array<char, kMaxKeyFileBytes> text{};
  const ssize_t count = ::read(file.get(), text.data(), text.size());
  if (count < 0) {
    return fail_errno(errno, fmt::format("key file {}", name));
  }
  auto key = parse_key(std::string_view(text.data(), static_cast<std::size_t>(count)));
  OPENSSL_cleanse(text.data(), text.size());
  if (!key) {
    return fail(key.error().code, fmt::format("key file {}: {}", name, key.error().message));
  }
  return key;
}

Result<Bytes16> random_bytes16() {
  Bytes16 bytes{};
  while (bytes == Bytes16{}) {
    if (RAND_priv_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) {
      return fail(ErrorCode::kUnavailable, "no random numbers on this host");
    }
  }
  return bytes;
}

bool same_secret(const Bytes16& a, const Bytes16& b) {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace rram
