// An Operation on memory that is mapped here, carried out by memcpy.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

#include "rdma/transport.h"

namespace rram {

// Nothing orders it against others on the same bytes: whoever reads what is being written gets old
// bytes, new ones, or some of each, as from any file and as by RDMA. `remote`: of the size of
// operation.local.
inline void copy_operation(const Operation& operation, std::span<std::byte> remote) {
  if (operation.kind == Operation::Kind::kRead) {
    std::memcpy(operation.local.data(), remote.data(), remote.size());
  } else {
    std::memcpy(remote.data(), operation.local.data(), remote.size());
  }
}

}  // namespace rram
