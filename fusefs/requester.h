// The whole of one mount: workers, leases, volume, front end, put together in order and taken apart
// in the reverse order.
//
// Lives on the main thread, which may block. Two of them in one process work.
#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "fusefs/front/front_end.h"
#include "fusefs/front/operations.h"
#include "fusefs/front/session.h"
#include "fusefs/mounted_provider.h"
#include "fusefs/options.h"
#include "fusefs/volume.h"
#include "fusefs/worker.h"
#include "rdma/connector.h"

namespace rram {

class Requester {
 public:
  // Connects to every provider, takes the leases, mounts, and returns when the mount is usable. On
  // failure nothing stays mounted and no lease is held.
  // `on_ended` is called once, on some thread, when the kernel has ended the mount.
  // `is_called_off` is asked now and then while this waits for providers; true ends it with
  // kCancelled.
  static Result<std::unique_ptr<Requester>> start(const RequesterOptions& options,
                                                  std::function<void(Status)> on_ended,
                                                  std::function<bool()> is_called_off);
  // Takes the mount away if it is still there, and gives the leases back.
  ~Requester();
  Requester(const Requester&) = delete;
  Requester& operator=(const Requester&) = delete;

  // "/mnt/ramstripe, 3 providers, 3.0 GiB, tcp"
  [[nodiscard]] std::string summary();
  // The device number of the mount (FuseSession::device_minor).
  [[nodiscard]] std::optional<std::uint64_t> device_minor() const {
    return session_->device_minor();
  }
  // Ends the mount from outside (FuseSession::abort).
  void abort() { session_->abort(); }
  // Which transports were taken and why not others.
  [[nodiscard]] const std::vector<std::string>& notes() const { return notes_; }

 private:
  Requester(const RequesterOptions& options, std::function<bool()> is_called_off)
      : options_(options), is_called_off_(std::move(is_called_off)) {}

  Status start_workers();
  Status make_volume();
  Status connect_providers();
  // On the control worker's thread.
  Status take_leases(std::vector<std::optional<Result<ConnectedLease>>>& results);
  Status open_links();
  Status check_call_off();
  // The result of what may take long, on some worker.
  template <typename T>
  T wait_for(std::future<T> result);
  [[nodiscard]] bool keeps_access_times() const;
  Status mount(std::function<void(Status)> on_ended);
  Worker& control_worker() { return *workers_.front(); }
  void close_links();
  void release_leases();

  const RequesterOptions options_;
  const std::function<bool()> is_called_off_;
  const std::shared_ptr<std::atomic<bool>> call_off_ = std::make_shared<std::atomic<bool>>(false);
  FrontEndPlan front_end_plan_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Volume> volume_;
  std::vector<std::unique_ptr<MountedProvider>> providers_;
  std::unique_ptr<FrontEnd> front_end_;
  std::unique_ptr<Operations> operations_;
  std::unique_ptr<FuseSession> session_;
  std::vector<std::string> notes_;
  bool is_serving_ = false;
};

}  // namespace rram
