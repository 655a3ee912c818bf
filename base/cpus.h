// The CPUs of this host, as far as this process may use them.
#pragma once

#include <vector>

#include "base/result.h"

namespace rram {

// Numbers of the CPUs that the calling thread may run on, ascending; never empty.
std::vector<unsigned> usable_cpus();

// From now on the calling thread runs on these CPUs, wherever the thread that made it does. It only
// costs speed where that fails.
void spread_this_thread(const std::vector<unsigned>& cpus);

// From now on the calling thread runs on this CPU only. kInvalidArgument: it is offline, or not
// for this process.
Status pin_this_thread(unsigned cpu);

}  // namespace rram
