// Who may change a file's data right now: many writers that do not disturb each other (shared), or
// one change that must be alone (exclusive: truncate, punch, a write that moves a block). Fair:
// first come, first served, so neither kind starves. Reads need no gate.
//
// Pure and not thread-safe: part of the volume, called under its lock. Those who wait are named by
// a Waiter, which the caller wakes up.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "fusefs/namespace/attributes.h"

namespace rram {

enum class GateMode : std::uint8_t { kShared, kExclusive };

// One that waits for a gate; means nothing here. Belongs to the waiting coroutine.
class GateWaiter;

class FileGates {
 public:
  // True: entered. False: busy, or others wait already; nothing has changed.
  bool try_enter(Ino ino, GateMode mode);

  // Enters (true) or queues `waiter` (false), which leave() will name once it has entered.
  bool enter_or_queue(Ino ino, GateMode mode, GateWaiter& waiter);

  // Appends to `admitted` those who wait and have entered by this.
  void leave(Ino ino, GateMode mode, std::vector<GateWaiter*>& admitted);

  // Files with a gate in use.
  [[nodiscard]] std::size_t busy_files() const { return gates_.size(); }

 private:
  struct Queued {
    GateMode mode;
    GateWaiter* waiter;
  };
  struct Gate {
    std::uint32_t shared_holders = 0;
    bool is_exclusive = false;
    std::unique_ptr<std::deque<Queued>> queue;  // made when the first one waits
  };

  static bool admits(const Gate& gate, GateMode mode);
  static void hold(Gate& gate, GateMode mode);

  boost::unordered_flat_map<Ino, Gate> gates_;
};

}  // namespace rram
