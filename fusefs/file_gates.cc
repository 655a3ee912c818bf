#include "fusefs/file_gates.h"

#include <cassert>

namespace rram {

bool FileGates::admits(const Gate& gate, GateMode mode) {
  if (gate.is_exclusive) return false;
  return mode == GateMode::kShared || gate.shared_holders == 0;
}

void FileGates::hold(Gate& gate, GateMode mode) {
  if (mode == GateMode::kShared) {
    ++gate.shared_holders;
  } else {
    gate.is_exclusive = true;
  }
}

bool FileGates::try_enter(Ino ino, GateMode mode) {
  Gate& gate = gates_[ino];
  const bool others_wait = gate.queue != nullptr && !gate.queue->empty();
  if (others_wait || !admits(gate, mode)) return false;
  hold(gate, mode);
  return true;
}

bool FileGates::enter_or_queue(Ino ino, GateMode mode, GateWaiter& waiter) {
  if (try_enter(ino, mode)) return true;
  Gate& gate = gates_[ino];
  if (gate.queue == nullptr) gate.queue = std::make_unique<std::deque<Queued>>();
  gate.queue->push_back({mode, &waiter});
  return false;
}

void FileGates::leave(Ino ino, GateMode mode, std::vector<GateWaiter*>& admitted) {
  const auto found = gates_.find(ino);
  assert(found != gates_.end());
  Gate& gate = found->second;
  if (mode == GateMode::kShared) {
    assert(gate.shared_holders > 0);
    --gate.shared_holders;
  } else {
    assert(gate.is_exclusive);
    gate.is_exclusive = false;
  }
  while (gate.queue != nullptr && !gate.queue->empty() && admits(gate, gate.queue->front().mode)) {
    hold(gate, gate.queue->front().mode);
    admitted.push_back(gate.queue->front().waiter);
    gate.queue->pop_front();
  }
  if (gate.shared_holders == 0 && !gate.is_exclusive) gates_.erase(found);
}

}  // namespace rram
