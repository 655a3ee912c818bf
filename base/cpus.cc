#include "base/cpus.h"

#include <fmt/format.h>
#include <sched.h>

#include <cerrno>
#include <memory>

namespace rram {

namespace {

// The kernel refuses a set that is smaller than its own, whatever the host has.
constexpr unsigned kMaxCpus = 8192;

struct CpuSetDeleter {
  void operator()(cpu_set_t* set) const { CPU_FREE(set); }
};
using CpuSet = std::unique_ptr<cpu_set_t, CpuSetDeleter>;

CpuSet empty_set() {
  CpuSet set(CPU_ALLOC(kMaxCpus));
  CPU_ZERO_S(CPU_ALLOC_SIZE(kMaxCpus), set.get());
  return set;
}

}  // namespace

std::vector<unsigned> usable_cpus() {
  const CpuSet set = empty_set();
  std::vector<unsigned> cpus;
  if (::sched_getaffinity(0, CPU_ALLOC_SIZE(kMaxCpus), set.get()) == 0) {
    for (unsigned cpu = 0; cpu < kMaxCpus; ++cpu) {
      if (CPU_ISSET_S(cpu, CPU_ALLOC_SIZE(kMaxCpus), set.get())) cpus.push_back(cpu);
    }
  }
  if (cpus.empty()) cpus.push_back(0);
  return cpus;
}

void spread_this_thread(const std::vector<unsigned>& cpus) {
  const CpuSet set = empty_set();
  for (const unsigned cpu : cpus) CPU_SET_S(cpu, CPU_ALLOC_SIZE(kMaxCpus), set.get());
  ::sched_setaffinity(0, CPU_ALLOC_SIZE(kMaxCpus), set.get());
}

Status pin_this_thread(unsigned cpu) {
  const CpuSet set = empty_set();
  if (cpu >= kMaxCpus) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("there is no CPU {}", cpu));
  }
  CPU_SET_S(cpu, CPU_ALLOC_SIZE(kMaxCpus), set.get());
  if (::sched_setaffinity(0, CPU_ALLOC_SIZE(kMaxCpus), set.get()) == 0) return {};
  return fail_errno(errno, fmt::format("cannot pin a thread to CPU {}", cpu));
}

}  // namespace rram
