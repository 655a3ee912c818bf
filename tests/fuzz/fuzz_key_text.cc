// The text of a key file. What is a key has one base64 text, which reads back to the same key.
#include "rdma/session/preshared_key.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using rram::fuzz::require;
  const std::string text(data, data + size);
  const auto key = rram::parse_key(text);
  if (!key) {
    require(!key.error().message.empty());
    return 0;
  }
  const auto again = rram::parse_key(key->text());
  require(again.has_value() && again->bytes() == key->bytes());
  return 0;
}
