#include "tests/mount/stranger.h"

#include <sys/stat.h>
#include <sys/syscall.h>

#include <cstdlib>

namespace rram::exerciser {

namespace {

constexpr auto kKept = static_cast<uint32_t>(-1);

void check(long result) {
  if (result != 0) std::abort();  // the rest would be done by the wrong user
}

}  // namespace

// The system calls themselves: those of the C library change every thread of the process. Only root
// may drop groups and take any: so the user comes last, and first on the way back.

AsStranger::AsStranger() {
  check(syscall(SYS_setgroups, 0, nullptr));
  check(syscall(SYS_setresgid, kKept, kStranger, kKept));
  check(syscall(SYS_setresuid, kKept, kStranger, kKept));
}

AsStranger::~AsStranger() {
  check(syscall(SYS_setresuid, kKept, 0, kKept));
  check(syscall(SYS_setresgid, kKept, 0, kKept));
}

uint32_t without_set_ids(uint32_t mode) {
  mode &= ~static_cast<uint32_t>(S_ISUID);
  return (mode & S_IXGRP) != 0 ? mode & ~static_cast<uint32_t>(S_ISGID) : mode;
}

}  // namespace rram::exerciser
