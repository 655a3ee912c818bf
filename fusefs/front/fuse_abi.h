// What the kernel's FUSE interface has beyond the headers of Debian 12 (FUSE minor 38): flags of
// INIT and the shared structures of FUSE-over-io_uring. Source: include/uapi/linux/fuse.h of
// Linux 6.14 and later; sizes and offsets are checked below.
#pragma once

#include <linux/fuse.h>

#include <cstddef>
#include <cstdint>

namespace rram::fuse_abi {

// INIT flags, 64 bits: the upper half travels in flags2 and needs FUSE_INIT_EXT.
constexpr std::uint64_t kInitExt = std::uint64_t{1} << 30;
constexpr std::uint64_t kParallelDirops = std::uint64_t{1} << 18;
constexpr std::uint64_t kDirectIoAllowMmap = std::uint64_t{1} << 36;
constexpr std::uint64_t kOverIoUring = std::uint64_t{1} << 41;

constexpr std::size_t kHeaderAreaBytes = 128;
constexpr std::size_t kOpAreaBytes = 128;

struct RingEntryInOut {
  std::uint64_t flags;
  std::uint64_t commit_id;  // names the request; comes back in the reply's command
  std::uint32_t payload_bytes;
  std::uint32_t padding;
  std::uint64_t reserved;
};

// The header buffer of one ring entry, shared with the kernel.
struct RingRequestHeader {
  char in_out[kHeaderAreaBytes];  // fuse_in_header on the way in, fuse_out_header on the way out
  char op_in[kOpAreaBytes];       // the request's own header, zero padded; its length is not told
  RingEntryInOut entry;
};
static_assert(sizeof(RingRequestHeader) == 288);
static_assert(offsetof(RingRequestHeader, entry) == 256);

enum class RingCommand : std::uint32_t { kRegister = 1, kCommitAndFetch = 2 };

// The command area (byte 48) of a 128-byte submission entry.
struct RingCommandRequest {
  std::uint64_t flags;
  std::uint64_t commit_id;
  std::uint16_t queue_id;
  std::uint8_t padding[6];
};
static_assert(sizeof(RingCommandRequest) == 24);

}  // namespace rram::fuse_abi
