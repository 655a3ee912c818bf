// What a person asked of rramfs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fusefs/layout/geometry.h"
#include "rdma/endpoint.h"

namespace rram {

enum class FrontEndKind : std::uint8_t { kAuto, kIoUring, kDevFuse };

struct RequesterOptions {
  std::string program = "rramfs";
  std::string mountpoint;
  std::vector<Endpoint> providers;
  std::uint64_t stripe_unit_bytes = kDefaultStripeUnitBytes;
  std::uint64_t size_bytes = 0;  // of the whole volume; 0: all that is free
  // Of the requester's memory, for names, attributes and block maps; 0: a part of what it may have.
  std::uint64_t metadata_bytes = 0;
  std::optional<std::string> key_file;
  bool tls = false;  // encrypt what goes by TCP, and go no other way
  // How long a worker spins for completions of RDMA before it sleeps; nothing: as the host allows.
  std::optional<std::uint64_t> poll_ns;
  std::string rdma_device;          // the only RDMA device to use; empty: whichever leads there
  std::uint64_t timeout_ms = 5000;  // for connecting, and for every operation
  unsigned workers = 0;             // 0: one a CPU
  FrontEndKind front_end = FrontEndKind::kAuto;
  bool direct_io = false;
  bool allow_other = false;
  bool foreground = false;
  bool debug = false;
  std::optional<std::string> log_file;     // in the background: instead of the system log
  std::string fs_name;                     // what df shows as the source
  std::vector<std::string> mount_options;  // for the mount itself: ro, noatime, ...
  bool shows_help = false;
  bool shows_version = false;
};

}  // namespace rram
