// Between libfuse's and the volume's words for the same things.
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>

#include "fusefs/front/libfuse.h"
#include "fusefs/front/operations.h"
#include "fusefs/volume.h"

namespace rram {

// How long the kernel may trust what it was told, in seconds: for ever.
constexpr double kForeverSeconds = 1e9;

// The time of day, for time stamps.
Timestamp wall_clock_now();

Timestamp to_timestamp(const timespec& time);
struct stat to_stat(const FileStat& file);
// How long the kernel may trust these attributes, in seconds: for ever, but not at all where the
// file has had several names. It takes one off its own count of links when UNLINK is answered;
// where an answer made after the unlinking came before that one, the count is one too low until it
// asks again.
double attributes_timeout_seconds(const Attributes& attributes);
fuse_entry_param to_entry(const FileStat& file);
struct statvfs to_statvfs(const VolumeFigures& figures);

inline Operations& operations_of(fuse_req_t request) {
  return static_cast<OperationsContext*>(fuse_req_userdata(request))->operations;
}

}  // namespace rram
