#pragma once

#include <cstdint>
#include <string>

#include "tests/mount/world.h"

namespace rram::exerciser {

// The phase in which several processes work on the same files at once. In one file each process
// owns every n-th range of a few thousand bytes, so that neighbours share pages and blocks; to
// another all append records. What a process writes depends on the seed only, so the parent can
// compute what must stand there without having seen it.
struct SharedPlan {
  std::string directory;
  uint64_t seed = 0;
  uint32_t processes = 1;
  uint64_t operations_per_process = 0;
  uint64_t file_bytes = 0;
};

// By the parent, before the processes start.
void create_shared_files(const SharedPlan& plan);
// By each process. Reads back what it owns as it goes. Throws Mismatch.
void work_on_shared_files(World& world, const SharedPlan& plan, uint32_t process);
// By the parent, after all have ended: every byte, also from storage. Throws Mismatch.
void verify_shared_files(World& world, const SharedPlan& plan);

}  // namespace rram::exerciser
