#pragma once

#include <cstdint>
#include <string>

#include "tests/mount/world.h"

namespace rram::exerciser {

// The phase in which all workers (every thread of every process) do the same thing to the same
// files at once. What a worker does depends on the seed and its number only, or it leaves a tally,
// so that the parent can tell afterwards what must be there.
struct SharedPlan {
  std::string directory;
  uint64_t seed = 0;
  uint32_t workers = 1;
  uint32_t threads = 1;  // of each process; workers of one process have neighbouring numbers
  uint64_t operations_per_worker = 0;
  uint64_t file_bytes = 0;
};

// One thing that all do. All three throw Mismatch.
struct SharedPart {
  const char* name;
  // By the parent, before the workers start.
  void (*create)(const SharedPlan& plan);
  // By each worker; looks at what it can know as it goes.
  void (*work)(World& world, const SharedPlan& plan, uint32_t worker);
  // By the parent, after all have ended.
  void (*verify)(World& world, const SharedPlan& plan);
};

// In one file each worker owns every n-th range of a few thousand bytes, so that neighbours share
// pages and blocks; to another all append records.
SharedPart shared_files();
// Counters that are right only if locks of every kind exclude, wait, and end with their owner.
SharedPart shared_locks();
// Names in common directories: each creation, removal and move has one winner, nothing gets lost.
SharedPart shared_names();

// Opens a file of a shared part.
OwnedFd open_shared(const std::string& path, int flags);

}  // namespace rram::exerciser
