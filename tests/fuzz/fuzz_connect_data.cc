// What comes with an RDMA connection request. What is accepted has one meaning, which is in its
// first bytes: the rest may be padding.
#include "rdma/verbs/connect_data.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using rram::fuzz::require;
  const auto bytes = rram::fuzz::Input(data, size).bytes(size);
  const auto decoded = rram::decode_connect_data(bytes);
  if (!decoded) {
    require(decoded.error().code == rram::ErrorCode::kProtocol);
    require(!decoded.error().message.empty());
    return 0;
  }
  require(std::memcmp(&*decoded, bytes.data(), sizeof *decoded) == 0);
  require(decoded->role == rram::Role::kControl || decoded->role == rram::Role::kData);
  require(decoded->version_min <= rram::kWireVersionMax);
  require(decoded->version_max >= rram::kWireVersionMin);
  return 0;
}
