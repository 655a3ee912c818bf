// Somebody between a requester and its provider who hears every frame and may change it.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "rdma/endpoint.h"
#include "rdma/wire/codec.h"
#include "tests/process/provider_raw_requester.h"

namespace rram::test {

// Takes one TCP connection on a free port and lets `serve` do with it what it likes, on a thread of
// its own.
class FakeProvider {
 public:
  explicit FakeProvider(std::function<void(RawRequester& requester)> serve);
  ~FakeProvider();
  FakeProvider(const FakeProvider&) = delete;
  FakeProvider& operator=(const FakeProvider&) = delete;

  [[nodiscard]] const Endpoint& endpoint() const { return endpoint_; }

 private:
  UniqueFd listener_;
  Endpoint endpoint_;
  std::thread thread_;
};

class MiddleMan {
 public:
  enum class Sender : std::uint8_t { kRequester, kProvider };
  // Called with each whole frame before it is passed on, on either of two threads.
  using Edit = std::function<void(Sender sender, FrameBytes& frame)>;

  explicit MiddleMan(Endpoint provider, Edit edit = {});

  // Where a requester finds him in place of the provider. One connection.
  [[nodiscard]] const Endpoint& endpoint() const { return fake_.endpoint(); }
  // As they were sent, in order.
  [[nodiscard]] std::vector<FrameBytes> heard(Sender sender) const;
  // The first frame of this type that the provider has sent.
  [[nodiscard]] std::optional<FrameBytes> heard(FrameType type) const;

 private:
  void pass(Sender sender, RawRequester& from, RawRequester& to);

  const Endpoint provider_;
  const Edit edit_;
  mutable std::mutex mutex_;  // guards what was heard
  std::vector<FrameBytes> of_requester_;
  std::vector<FrameBytes> of_provider_;
  FakeProvider fake_;  // the last: its thread uses the others
};

FrameType type_of(const FrameBytes& frame);

}  // namespace rram::test
