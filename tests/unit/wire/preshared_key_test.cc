#include "rdma/session/preshared_key.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/unit/wire/session_helpers.h"

namespace rram::test {
namespace {

const std::string kHex = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";
const std::string kBase64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

TEST(PresharedKey, hex_and_base64_are_one_key) {
  const auto hex = parse_key(kHex);
  const auto base64 = parse_key("  " + kBase64 + "\r\n");
  ASSERT_TRUE(hex.has_value()) << hex.error().message;
  ASSERT_TRUE(base64.has_value()) << base64.error().message;
  EXPECT_EQ(hex->bytes(), base64->bytes());
  EXPECT_EQ(hex->bytes()[31], std::byte{31});
  EXPECT_EQ(hex->text(), kBase64);
}

TEST(PresharedKey, what_is_no_key_is_refused_without_repeating_it) {
  std::string bad_hex = kHex;
  bad_hex[10] = 'g';
  std::string bad_base64 = kBase64;
  bad_base64[5] = '*';
  std::string stray_bits = kBase64;
  stray_bits[42] = '9';  // decodes to the same 32 bytes
  std::string no_padding = kBase64;
  no_padding[43] = 'A';  // 33 bytes
  std::string two_paddings = kBase64;
  two_paddings[42] = '=';  // 31 bytes
  std::string inner_space = kBase64;
  inner_space[20] = ' ';
  for (const std::string& text :
       {std::string(), std::string("secret"), bad_hex, bad_base64, stray_bits, no_padding,
        two_paddings, inner_space, kHex.substr(1), kBase64.substr(0, 43), std::string(129, '0'),
        std::string(44, '\0'), std::string(64, '\xff')}) {
    const auto key = parse_key(text);
    ASSERT_FALSE(key.has_value()) << text;
    EXPECT_EQ(key.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(key.error().message.find("AAEC"), std::string::npos) << key.error().message;
  }
}

TEST(PresharedKey, generated_keys_differ_and_read_back) {
  const auto one = generate_key();
  const auto two = generate_key();
  ASSERT_TRUE(one.has_value() && two.has_value());
  EXPECT_NE(one->bytes(), two->bytes());
  EXPECT_EQ(parse_key(one->text())->bytes(), one->bytes());
}

TEST(PresharedKey, random_bytes_differ_and_secrets_compare) {
  const Bytes16 one = random_bytes16().value();
  const Bytes16 two = random_bytes16().value();
  EXPECT_NE(one, Bytes16{});
  EXPECT_FALSE(same_secret(one, two));
  EXPECT_TRUE(same_secret(one, one));
}

class KeyFile : public ::testing::Test {
 public:
  KeyFile() {
    std::string pattern = (std::filesystem::temp_directory_path() / "rram-key-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~KeyFile() override { std::filesystem::remove_all(folder_); }
  KeyFile(const KeyFile&) = delete;
  KeyFile& operator=(const KeyFile&) = delete;

 protected:
  std::filesystem::path write(const std::string& text, mode_t mode) const {
    const auto path = folder_ / "key";
    std::ofstream(path) << text;
    EXPECT_EQ(::chmod(path.c_str(), mode), 0);
    return path;
  }
  const std::filesystem::path& folder() const { return folder_; }

 private:
  std::filesystem::path folder_;
};

TEST_F(KeyFile, a_private_file_gives_its_key) {
  for (const mode_t mode : {0600U, 0400U}) {
    const auto key = load_key_file(write(kHex + "\n", mode));
    ASSERT_TRUE(key.has_value()) << key.error().message;
    EXPECT_EQ(key->text(), kBase64);
    std::filesystem::remove(folder() / "key");
  }
}

TEST_F(KeyFile, a_file_that_others_reach_is_refused_with_the_remedy) {
  for (const mode_t mode : {0644U, 0640U, 0620U, 0601U, 0700U, 04600U}) {
    const auto path = write(kHex, mode);
    const auto key = load_key_file(path);
    ASSERT_FALSE(key.has_value()) << std::oct << mode;
    EXPECT_EQ(key.error().code, ErrorCode::kRefused);
    EXPECT_NE(key.error().message.find("wider than 0600"), std::string::npos);
    EXPECT_NE(key.error().message.find("chmod 600 " + path.string()), std::string::npos);
    std::filesystem::remove(path);
  }
}

TEST_F(KeyFile, a_file_of_another_user_is_refused_with_both_users) {
  const auto path = write(kHex, 0600);
  if (::chown(path.c_str(), 4711, static_cast<gid_t>(-1)) != 0) {
    GTEST_SKIP() << "only root gives files away";
  }
  const auto key = load_key_file(path);
  ASSERT_FALSE(key.has_value());
  EXPECT_EQ(key.error().code, ErrorCode::kRefused);
  EXPECT_NE(key.error().message.find("belongs to user 4711, not to this user"), std::string::npos)
      << key.error().message;
}

TEST_F(KeyFile, what_is_no_key_file_is_refused_with_its_path) {
  const auto message = [](const std::filesystem::path& path) {
    const auto key = load_key_file(path);
    return key ? std::string("a key") : key.error().message;
  };
  EXPECT_NE(message(folder() / "none").find("none"), std::string::npos);
  EXPECT_NE(message(folder()).find("not a regular file"), std::string::npos);
  const auto fifo = folder() / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_NE(message(fifo).find("not a regular file"), std::string::npos);
  EXPECT_NE(message(write("", 0600)).find("has 0 characters"), std::string::npos);
  EXPECT_NE(message(write(std::string(5000, 'a'), 0600)).find("key file"), std::string::npos);
}

}  // namespace
}  // namespace rram::test
