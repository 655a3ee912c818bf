// /dev/fuse, read through the worker's ring: the front end where the kernel has no
// FUSE-over-io_uring, and beside it for what never travels over the ring (FORGET, INTERRUPT, INIT).
//
// The descriptor is non-blocking. The ring polls it; readable, requests are read until none is
// left, no slot is free, or the loop must have a turn.
//
// Owned by the front end, on its worker's thread.
#pragma once

#include <coroutine>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/fd.h"
#include "base/gate.h"
#include "base/result.h"
#include "base/task.h"
#include "fusefs/front/request_slot.h"
#include "fusefs/front/session.h"

namespace rram {

class DevQueue {
 public:
  // Room that one slot takes of the worker's arena, in bytes, a multiple of the page size.
  static std::size_t arena_bytes_per_slot(std::size_t payload_bytes);

  // `fd`: /dev/fuse, or a clone of it; a request must be answered on the descriptor it came from.
  // `arena`: depth * arena_bytes_per_slot().
  DevQueue(Worker& worker, FuseSession& session, int fd, unsigned depth, std::size_t payload_bytes,
           std::span<std::byte> arena);
  ~DevQueue();
  DevQueue(const DevQueue&) = delete;
  DevQueue& operator=(const DevQueue&) = delete;

  // Serves until the mount ends, then calls `on_ended` once, with no slot in use any more.
  void start(std::function<void(Status)> on_ended);

  // Takes what the kernel has queued right now: after it, every FORGET that the kernel had queued
  // before has been carried out (by this queue or another worker's).
  void drain();

 private:
  class Slot;
  enum class Taken { kRequest, kNothing, kEnded };

  Task<> serve();
  Taken take_request();
  void give_back(Slot& slot);
  // Resumes when a slot is free.
  auto free_slot();

  Worker& worker_;
  FuseSession& session_;
  int fd_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<Slot*> free_;
  std::coroutine_handle<> waiting_for_slot_;
  bool ended_ = false;
  std::function<void(Status)> on_ended_;
  Gate gate_;
};

}  // namespace rram
