#include "fusefs/mounted_provider.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "base/backoff.h"
#include "base/size_text.h"

namespace rram {

MountedProvider::MountedProvider(EventLoop& control_loop, Volume& volume, unsigned index,
                                 std::unique_ptr<HeldLease> lease, std::uint64_t timeout_ms)
    : loop_(control_loop),
      volume_(volume),
      index_(index),
      lease_(std::move(lease)),
      timeout_ms_(timeout_ms),
      text_(lease_->provider_text()) {
  lease_->set_on_disconnected([this](const Error& reason) { on_disconnected(reason); });
}

MountedProvider::~MountedProvider() = default;

void MountedProvider::report_link_down(const Error& reason) {
  loop_.post([this, reason] {
    ++broken_links_;
    note_down(reason);
  });
}

void MountedProvider::report_link_up() {
  loop_.post([this] {
    --broken_links_;
    note_up_if_whole();
  });
}

void MountedProvider::report_lost(const Error& reason) {
  loop_.post([this, reason] { note_lost(reason); });
}

void MountedProvider::on_disconnected(const Error& reason) {
  is_control_up_ = false;
  if (!reconnecting_.is_closed() && state_ != State::kLost) spawn(reconnecting_, reconnect(reason));
}

// The provider is called unreachable only if the first attempt fails: lanes may be alive, and the
// lease outlives its control connection for a while.
Task<> MountedProvider::reconnect(Error reason) {
  Backoff backoff(kFirstRetryMs, kLastRetryMs);
  for (;;) {
    co_await backoff.pause(loop_, reconnecting_);
    if (reconnecting_.is_closed()) co_return;
    const Status connected = co_await lease_->reconnect(std::min(timeout_ms_, kRetryTimeoutMs));
    if (connected) {
      is_control_up_ = true;
      spdlog::info("provider {}: the lease was taken up again after its connection had ended ({})",
                   text_, reason.message);
      note_up_if_whole();
      co_return;
    }
    if (connected.error().code == ErrorCode::kLost) {
      note_lost(connected.error());
      co_return;
    }
    note_down(reason);
  }
}

void MountedProvider::note_down(const Error& reason) {
  if (state_ != State::kUp) return;
  state_ = State::kDown;
  volume_.set_usable(index_, false);
  spdlog::error(
      "provider {} cannot be reached: {}. Reading and writing its part ({}) of the files gives EIO "
      "until it is back; the rest goes on, and rramfs keeps trying",
      text_, reason.message, size_text(lease_->size_bytes()));
}

void MountedProvider::note_up_if_whole() {
  if (state_ != State::kDown || !is_control_up_ || broken_links_ > 0) return;
  state_ = State::kUp;
  volume_.set_usable(index_, true);
  spdlog::warn("provider {} is back, with its data", text_);
}

void MountedProvider::note_lost(const Error& reason) {
  if (state_ == State::kLost) return;
  state_ = State::kLost;
  volume_.set_usable(index_, false);
  spdlog::error(
      "provider {} has lost our {}: {}. What was stored there gives EIO from now on: delete the "
      "files concerned, or detach and mount again",
      text_, size_text(lease_->size_bytes()), reason.message);
}

Task<> MountedProvider::release() {
  co_await reconnecting_.close();
  lease_->set_on_disconnected({});
  co_await lease_->release(timeout_ms_);
}

}  // namespace rram
