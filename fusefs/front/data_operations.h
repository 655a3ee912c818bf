// Requests about file data and space: what may have to wait for providers.
#pragma once

#include "fusefs/front/libfuse.h"

namespace rram {

// With `direct_io`, files are opened past the kernel's page cache.
void add_data_operations(fuse_lowlevel_ops& table, bool direct_io);

}  // namespace rram
