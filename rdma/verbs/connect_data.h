// What a requester tells with its RDMA connection request, before anything else: who it is and what
// the connection is for. docs/protocol.md, "Over RDMA".
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "rdma/wire/frames.h"

namespace rram {

struct ConnectData {
  std::uint32_t magic;
  std::uint16_t version_min;
  std::uint16_t version_max;
  Role role;
  std::uint32_t reserved;
  LeaseId lease_id;  // that a data connection will join; zeros for a control connection
};
static_assert(sizeof(ConnectData) == 32);
// librdmacm carries so much with a request (RDMA_PS_TCP).
static_assert(sizeof(ConnectData) <= 56);

// `lease`: of a data connection.
ConnectData make_connect_data(const std::optional<LeaseId>& lease);
// Requests may come padded with zeros. kProtocol with what is wrong.
Result<ConnectData> decode_connect_data(std::span<const std::byte> bytes);

}  // namespace rram
