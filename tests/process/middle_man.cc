#include "tests/process/middle_man.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "tests/loopback.h"

namespace rram::test {

FakeProvider::FakeProvider(std::function<void(RawRequester& requester)> serve) {
  LoopbackSocket bound = bind_on_loopback();
  EXPECT_EQ(::listen(bound.fd.get(), 1), 0);
  endpoint_ = bound.endpoint();
  listener_ = std::move(bound.fd);
  thread_ = std::thread([this, serve = std::move(serve)] {
    UniqueFd accepted(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!accepted) return;
    RawRequester requester(std::move(accepted));
    serve(requester);
  });
}

FakeProvider::~FakeProvider() {
  ::shutdown(listener_.get(), SHUT_RDWR);  // nobody came
  thread_.join();
}

MiddleMan::MiddleMan(Endpoint provider, Edit edit)
    : provider_(std::move(provider)),
      edit_(std::move(edit)),
      fake_([this](RawRequester& requester) {
        RawRequester real(provider_);
        const std::jthread back([&] { pass(Sender::kProvider, real, requester); });
        pass(Sender::kRequester, requester, real);
      }) {}

void MiddleMan::pass(Sender sender, RawRequester& from, RawRequester& to) {
  while (const std::optional<RawFrame> frame = from.receive()) {
    FrameBytes bytes = encode_frame(frame->header.type, frame->header.tag, frame->body);
    {
      const std::lock_guard lock(mutex_);
      (sender == Sender::kRequester ? of_requester_ : of_provider_).push_back(bytes);
    }
    if (edit_) edit_(sender, bytes);
    to.send(bytes);
  }
  to.close_sending();
}

std::vector<FrameBytes> MiddleMan::heard(Sender sender) const {
  const std::lock_guard lock(mutex_);
  return sender == Sender::kRequester ? of_requester_ : of_provider_;
}

std::optional<FrameBytes> MiddleMan::heard(FrameType type) const {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find(of_provider_, type, type_of);
  if (found == of_provider_.end()) return std::nullopt;
  return *found;
}

FrameType type_of(const FrameBytes& frame) {
  FrameHeader header{};
  std::memcpy(&header, frame.data(), sizeof header);
  return header.type;
}

}  // namespace rram::test
