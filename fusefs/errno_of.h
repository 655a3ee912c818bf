// The one place where an error becomes an errno for the kernel.
#pragma once

#include "base/result.h"

namespace rram {

// A positive errno value.
int errno_of(ErrorCode code);

}  // namespace rram
