#include "rdma/verbs/connect_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace rram {

ConnectData make_connect_data(const std::optional<LeaseId>& lease) {
  ConnectData data{};
  data.magic = kMagic;
  data.version_min = kWireVersionMin;
  data.version_max = kWireVersionMax;
  data.role = lease ? Role::kData : Role::kControl;
  if (lease) data.lease_id = *lease;
  return data;
}

Result<ConnectData> decode_connect_data(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(ConnectData)) {
    return fail(ErrorCode::kProtocol, fmt::format("the connection request carries {} bytes, not {}",
                                                  bytes.size(), sizeof(ConnectData)));
  }
  ConnectData data{};
  std::memcpy(&data, bytes.data(), sizeof data);
  if (data.magic != kMagic) {
    return fail(ErrorCode::kProtocol, "the connection request is not of this protocol");
  }
  if (data.version_min > kWireVersionMax || data.version_max < kWireVersionMin) {
    return fail(ErrorCode::kProtocol,
                fmt::format("the requester speaks versions {} to {}, this provider {} to {}",
                            data.version_min, data.version_max, kWireVersionMin, kWireVersionMax));
  }
  if ((data.role != Role::kControl && data.role != Role::kData) || data.reserved != 0) {
    return fail(ErrorCode::kProtocol, "the connection request has an unknown role");
  }
  return data;
}

}  // namespace rram
