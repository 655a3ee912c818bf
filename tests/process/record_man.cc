#include "tests/process/record_man.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "tests/loopback.h"
#include "tests/process/provider_raw_requester.h"

namespace rram::test {

namespace {

constexpr int kAuthFrames = 2;  // of each side
constexpr std::size_t kRecordHeader = 5;

bool receive_exactly(int fd, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t received = ::recv(fd, bytes.data(), bytes.size(), 0);
    if (received <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(received));
  }
  return true;
}

bool send_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
  return true;
}

UniqueFd connect_to(const Endpoint& provider) {
  const RawRequester connected(provider);
  UniqueFd fd(::dup(connected.fd()));
  const timeval no_limit{0, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &no_limit, sizeof no_limit);
  return fd;
}

}  // namespace

RecordMan::RecordMan(Endpoint provider, Edit edit)
    : provider_(std::move(provider)), edit_(std::move(edit)) {
  LoopbackSocket bound = bind_on_loopback();
  EXPECT_EQ(::listen(bound.fd.get(), 16), 0);
  endpoint_ = bound.endpoint();
  listener_ = std::move(bound.fd);
  acceptor_ = std::thread([this] { accept_all(); });
}

RecordMan::~RecordMan() {
  ::shutdown(listener_.get(), SHUT_RDWR);
  acceptor_.join();
  for (Connection& connection : connections_) {
    ::shutdown(connection.requester.get(), SHUT_RDWR);
    ::shutdown(connection.provider.get(), SHUT_RDWR);
    for (std::thread& thread : connection.threads) thread.join();
  }
}

void RecordMan::accept_all() {
  for (;;) {
    UniqueFd accepted(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!accepted) return;
    const std::lock_guard lock(mutex_);
    Connection& made = connections_.emplace_back();
    made.requester = std::move(accepted);
    made.provider = connect_to(provider_);
    made.up = {MiddleMan::Sender::kRequester, made.requester.get(), made.provider.get(), {}};
    made.down = {MiddleMan::Sender::kProvider, made.provider.get(), made.requester.get(), {}};
    made.threads.emplace_back([this, &made] {
      FrameType type{};
      // HELLO says how the rest is to be read.
      if (pass_frame(made, made.up, type)) {
        const std::jthread back([this, &made] { pass(made, made.down); });
        pass(made, made.up);
      }
    });
  }
}

void RecordMan::pass(Connection& connection, Way& way) {
  bool is_open = true;
  for (int auth_frames = 0; is_open && auth_frames < kAuthFrames;) {
    FrameType type{};
    is_open = pass_frame(connection, way, type);
    if (type == FrameType::kAuth) ++auth_frames;
  }
  while (is_open) is_open = connection.has_tls ? pass_record(connection, way) : pass_some(way);
  ::shutdown(way.to_fd, SHUT_WR);
}

bool RecordMan::pass_frame(Connection& connection, Way& way, FrameType& type) {
  FrameHeader header{};
  if (!receive_exactly(way.from_fd, std::as_writable_bytes(std::span(&header, 1)))) return false;
  Bytes frame(sizeof header + header.body_bytes);
  std::memcpy(frame.data(), &header, sizeof header);
  if (!receive_exactly(way.from_fd, std::span(frame).subspan(sizeof header))) return false;
  type = header.type;
  if (type == FrameType::kHello) {
    Hello hello{};
    std::memcpy(&hello, frame.data() + sizeof header, sizeof hello);
    const std::lock_guard lock(mutex_);
    connection.role = hello.role;
    connection.has_tls = (hello.features & kFeatureTls) != 0;
  }
  capture(way, frame);
  return send_all(way.to_fd, frame);
}

bool RecordMan::pass_record(const Connection& connection, Way& way) {
  Bytes record(kRecordHeader);
  if (!receive_exactly(way.from_fd, record)) return false;
  const std::size_t length =
      (std::to_integer<std::size_t>(record[3]) << 8U) + std::to_integer<std::size_t>(record[4]);
  record.resize(kRecordHeader + length);
  if (!receive_exactly(way.from_fd, std::span(record).subspan(kRecordHeader))) return false;
  capture(way, record);
  std::vector<Bytes> passed;
  if (edit_) {
    const std::lock_guard lock(edit_mutex_);
    passed = edit_({connection.role, way.sender, record});
  } else {
    passed.push_back(std::move(record));
  }
  return std::ranges::all_of(passed,
                             [&](const Bytes& bytes) { return send_all(way.to_fd, bytes); });
}

bool RecordMan::pass_some(Way& way) {
  std::array<std::byte, 65536> piece;
  const ssize_t received = ::recv(way.from_fd, piece.data(), piece.size(), 0);
  if (received <= 0) return false;
  const auto bytes = std::span(piece).first(static_cast<std::size_t>(received));
  capture(way, bytes);
  return send_all(way.to_fd, bytes);
}

void RecordMan::capture(Way& way, std::span<const std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  way.captured.insert(way.captured.end(), bytes.begin(), bytes.end());
}

bool RecordMan::heard(std::string_view text) const {
  const std::lock_guard lock(mutex_);
  const auto wanted = std::as_bytes(std::span(text));
  const auto is_in = [&](const Way& way) {
    return !std::ranges::search(way.captured, wanted).empty();
  };
  return std::ranges::any_of(connections_, [&](const Connection& connection) {
    return is_in(connection.up) || is_in(connection.down);
  });
}

std::size_t RecordMan::connections(Role role) const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(
      std::ranges::count(connections_, role, [](const Connection& each) { return each.role; }));
}

}  // namespace rram::test
