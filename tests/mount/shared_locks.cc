#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "tests/mount/shared.h"

namespace rram::exerciser {

namespace {

constexpr uint64_t kCounters = 4;  // of each file: few, so that workers meet

constexpr uint64_t kLingerEvery = 8;
constexpr useconds_t kLingerUs = 200;

// A counter and its complement, written one after the other: who sees only one of them changed was
// let in while another held the lock.
struct Counter {
  uint64_t value = 0;
  uint64_t complement = ~uint64_t{0};
};

// POSIX locks belong to the process, so only its first thread uses them; and that thread's file is
// opened by no other thread, because any close of a file ends the process's POSIX locks on it.
enum class LockKind : uint8_t { kPosix, kDescription, kWhole };

struct LockFile {
  const char* name;
  std::array<LockKind, 2> kinds;  // taken at random; they must exclude each other
};

constexpr std::array kFiles = {
    LockFile{"locks-of-processes", {LockKind::kPosix, LockKind::kDescription}},
    LockFile{"locks-of-descriptions", {LockKind::kDescription, LockKind::kDescription}},
    LockFile{"locks-of-files", {LockKind::kWhole, LockKind::kWhole}},
};

enum class Manner : uint8_t {
  kWait,    // wait for the lock
  kTry,     // ask until it is free
  kReader,  // a lock that several may have; nothing is counted
  kDying,   // a child takes it and ends without giving it back
};

struct Step {
  size_t file = 0;
  LockKind kind = LockKind::kPosix;
  Manner manner = Manner::kWait;
  uint64_t counter = 0;
  bool lingers = false;  // while it has the lock, so that others have to wait
};

// The steps of one worker, the same for whoever asks.
class Steps {
 public:
  Steps(const SharedPlan& plan, uint32_t worker)
      : is_first_thread_(worker % plan.threads == 0), chance_(mix(plan.seed, 0x10c5 + worker)) {}

  Step next() {
    Step step;
    step.file = is_first_thread_ ? chance_.below(kFiles.size()) : chance_.between(1, 2);
    step.kind = kFiles.at(step.file).kinds.at(chance_.below(2));
    step.manner = pick_manner();
    step.counter = chance_.below(kCounters);
    step.lingers = chance_.one_in(kLingerEvery);
    return step;
  }

 private:
  Manner pick_manner() {
    const uint64_t drawn = chance_.below(40);
    if (drawn == 0) return Manner::kDying;
    if (drawn < 8) return Manner::kTry;
    return drawn < 16 ? Manner::kReader : Manner::kWait;
  }

  bool is_first_thread_;
  Chance chance_;
};

std::string path_of(const SharedPlan& plan, const LockFile& file) {
  return plan.directory + "/" + file.name;
}

off_t place_of(uint64_t counter) { return static_cast<off_t>(counter * sizeof(Counter)); }

class Lock {
 public:
  Lock(Storage& storage, int fd, const Step& step) : storage_(storage), fd_(fd), step_(step) {}

  // 0, or -1 with errno: EAGAIN (EWOULDBLOCK) when somebody has it and `waits` is false.
  int take(bool waits) {
    const bool reads = step_.manner == Manner::kReader;
    if (step_.kind == LockKind::kWhole) {
      return storage_.lock_whole(fd_, (reads ? LOCK_SH : LOCK_EX) | (waits ? 0 : LOCK_NB));
    }
    return change(reads ? F_RDLCK : F_WRLCK, waits);
  }
  int give_back() {
    if (step_.kind == LockKind::kWhole) return storage_.lock_whole(fd_, LOCK_UN);
    return change(F_UNLCK, false);
  }

 private:
  int change(short type, bool waits) {
    struct flock range{};
    range.l_type = type;
    range.l_whence = SEEK_SET;
    range.l_start = place_of(step_.counter);
    range.l_len = sizeof(Counter);
    const bool is_posix = step_.kind == LockKind::kPosix;
    const int command = waits ? (is_posix ? F_SETLKW : F_OFD_SETLKW)  // NOLINT(*-conditional*)
                              : (is_posix ? F_SETLK : F_OFD_SETLK);   // NOLINT(*-conditional*)
    return storage_.lock_range(fd_, command, range);
  }

  Storage& storage_;
  int fd_;
  const Step& step_;
};

bool read_counter(int fd, uint64_t place, Counter& counter) {
  return pread(fd, &counter, sizeof counter, place_of(place)) == sizeof counter;
}

// In two writes, with time for others in between.
bool count_one(int fd, const Step& step) {
  const uint64_t place = step.counter;
  Counter counter;
  if (!read_counter(fd, place, counter) || counter.complement != ~counter.value) return false;
  ++counter.value;
  counter.complement = ~counter.value;
  if (pwrite(fd, &counter.value, sizeof counter.value, place_of(place)) != sizeof counter.value) {
    return false;
  }
  if (step.lingers) usleep(kLingerUs);
  const auto second = place_of(place) + static_cast<off_t>(sizeof counter.value);
  return pwrite(fd, &counter.complement, sizeof counter.complement, second) ==
         sizeof counter.complement;
}

void take(Lock& lock, Manner manner) {
  int result = lock.take(manner != Manner::kTry);
  while (result != 0 && manner == Manner::kTry && (errno == EAGAIN || errno == EACCES)) {
    sched_yield();
    result = lock.take(false);
  }
  if (result != 0) disagree("lock: {}", std::strerror(errno));
}

void count_under_lock(World& world, int fd, const Step& step) {
  Lock lock(world.storage, fd, step);
  take(lock, step.manner);
  Counter counter;
  const bool good = step.manner == Manner::kReader ? read_counter(fd, step.counter, counter) &&
                                                         counter.complement == ~counter.value
                                                   : count_one(fd, step);
  if (lock.give_back() != 0) disagree("unlock: {}", std::strerror(errno));
  if (!good)
    disagree("{}, counter {}: somebody else changed it under a lock", kFiles.at(step.file).name,
             step.counter);
}

// The child of a process with threads: system calls only, and its own open file, because a lock of
// a description lives as long as anybody has that open.
[[noreturn]] void die_with_lock(Storage& storage, const std::string& path, const Step& step) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  Lock lock(storage, fd, step);
  const bool good = fd >= 0 && lock.take(true) == 0 && count_one(fd, step);
  if (!good) _exit(1);
  kill(getpid(), SIGKILL);
  _exit(1);
}

void count_and_die(World& world, const SharedPlan& plan, const Step& step) {
  const std::string path = path_of(plan, kFiles.at(step.file));
  const pid_t child = fork();
  if (child == 0) die_with_lock(world.storage, path, step);
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFSIGNALED(status)) {
    disagree("{}, counter {}: a child could not count under a lock", path, step.counter);
  }
}

void create(const SharedPlan& plan) {
  const std::array<Counter, kCounters> counters{};
  for (const LockFile& file : kFiles) {
    const OwnedFd fd = open_shared(path_of(plan, file), O_RDWR | O_CREAT | O_EXCL);
    if (write(fd.get(), counters.data(), sizeof counters) != sizeof counters) {
      disagree("write {}: {}", file.name, std::strerror(errno));
    }
  }
}

void work(World& world, const SharedPlan& plan, uint32_t worker) {
  const bool is_first_thread = worker % plan.threads == 0;
  std::vector<OwnedFd> fds(kFiles.size());
  for (size_t i = is_first_thread ? 0 : 1; i < kFiles.size(); ++i) {
    fds[i] = open_shared(path_of(plan, kFiles.at(i)), O_RDWR);
  }
  Steps steps(plan, worker);
  for (uint64_t i = 0; i < plan.operations_per_worker; ++i) {
    ++world.operation;
    const Step step = steps.next();
    world.note("{} counter {} kind {} manner {}", kFiles.at(step.file).name, step.counter,
               static_cast<int>(step.kind), static_cast<int>(step.manner));
    if (step.manner == Manner::kDying) {
      count_and_die(world, plan, step);
    } else {
      count_under_lock(world, fds[step.file].get(), step);
    }
  }
}

void verify(World& /*world*/, const SharedPlan& plan) {
  std::array<std::array<uint64_t, kCounters>, kFiles.size()> expected{};
  for (uint32_t worker = 0; worker < plan.workers; ++worker) {
    Steps steps(plan, worker);
    for (uint64_t i = 0; i < plan.operations_per_worker; ++i) {
      const Step step = steps.next();
      if (step.manner != Manner::kReader) ++expected.at(step.file).at(step.counter);
    }
  }
  for (size_t i = 0; i < kFiles.size(); ++i) {
    const OwnedFd fd = open_shared(path_of(plan, kFiles.at(i)), O_RDONLY);
    for (uint64_t place = 0; place < kCounters; ++place) {
      Counter counter;
      if (!read_counter(fd.get(), place, counter)) disagree("{} is too short", kFiles.at(i).name);
      if (counter.value != expected.at(i).at(place)) {
        disagree("{}, counter {}: {}, expected {}", kFiles.at(i).name, place, counter.value,
                 expected.at(i).at(place));
      }
    }
  }
}

}  // namespace

SharedPart shared_locks() { return {"locks", create, work, verify}; }

}  // namespace rram::exerciser
