// Requests about names and attributes: everything that the namespace answers without I/O.
#pragma once

#include "fusefs/front/libfuse.h"

namespace rram {

void add_name_operations(fuse_lowlevel_ops& table);

}  // namespace rram
