// FUSE-over-io_uring: one queue of the kernel's, carried by one worker's ring.
//
// The kernel has one queue for each possible CPU and blocks the mount until every one has an entry.
// An entry is a command that completes when a request has arrived; the next command carries its
// reply and asks for the next request. The payload travels through the entry's own buffer in place.
//
// Owned by the front end, on its worker's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/event_loop.h"
#include "base/mapping.h"
#include "base/result.h"
#include "fusefs/front/fuse_abi.h"
#include "fusefs/front/request_slot.h"
#include "fusefs/front/session.h"

namespace rram {

class RingQueue {
 public:
  struct Options {
    std::uint16_t queue_id = 0;
    unsigned depth = 0;             // entries: requests under way at once
    std::size_t payload_bytes = 0;  // room for the largest payload
    unsigned registered_file = 0;   // of /dev/fuse in the worker's ring
  };

  // Room that one entry takes of the worker's arena, in bytes, a multiple of the page size.
  static std::size_t arena_bytes_per_entry(std::size_t payload_bytes);

  // `arena`: depth * arena_bytes_per_entry(). Allocates the headers; asks the kernel for nothing
  // yet.
  static Result<std::unique_ptr<RingQueue>> create(Worker& worker, FuseSession& session,
                                                   const Options& options,
                                                   std::span<std::byte> arena);
  ~RingQueue();
  RingQueue(const RingQueue&) = delete;
  RingQueue& operator=(const RingQueue&) = delete;

  // Registers every entry; the kernel must have processed INIT, and is asked again while it has
  // not. `on_ended` is called once, when the kernel holds no entry any more: the mount is gone, or
  // it refused them (then with what it said).
  void start(std::function<void(Status)> on_ended);

 private:
  class Entry;

  RingQueue(Worker& worker, FuseSession& session, const Options& options, Mapping headers);
  void on_entry_ended(int result);

  Worker& worker_;
  FuseSession& session_;
  Options options_;
  Mapping headers_;
  std::vector<std::unique_ptr<Entry>> entries_;
  std::size_t live_entries_ = 0;
  int first_error_ = 0;
  std::function<void(Status)> on_ended_;
};

}  // namespace rram
