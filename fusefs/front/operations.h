// The requests of the kernel, one callback each: decode, call the volume or start the file I/O,
// answer.
//
// Owned by main; called by libfuse on the worker that took the request.
#pragma once

#include "fusefs/file_io.h"
#include "fusefs/front/fuse_request.h"
#include "fusefs/front/libfuse.h"
#include "fusefs/volume.h"

namespace rram {

class FuseSession;
class Operations;

// The user data of the FUSE session.
struct OperationsContext {
  Operations& operations;
  const FuseSession* session = nullptr;
};

class Operations {
 public:
  struct Options {
    bool direct_io = false;  // applications' reads and writes bypass the kernel's page cache
    bool keeps_access_times = true;  // else the mount is noatime, or read-only
  };

  Operations(Volume& volume, KernelCaches& caches, const Options& options)
      : volume_(volume), caches_(caches), options_(options) {}

  // libfuse's table of callbacks.
  static fuse_lowlevel_ops table(bool direct_io);

  [[nodiscard]] Volume& volume() const { return volume_; }
  [[nodiscard]] const Options& options() const { return options_; }
  // For a request that has just come.
  [[nodiscard]] FileIo io(Worker& worker) const {
    return {volume_, worker, caches_, worker.request_deadline_ns()};
  }

 private:
  Volume& volume_;
  KernelCaches& caches_;
  const Options options_;
};

}  // namespace rram
