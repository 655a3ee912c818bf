#include "tests/faults/proxy.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <utility>

#include "base/event_loop.h"

namespace rram::faults {

namespace {

constexpr int kBacklog = 64;
constexpr int kLongestSleepMs = 1000;
constexpr std::uint64_t kNsPerMs = 1'000'000;
constexpr std::size_t kFixedPolls = 2;  // commands and the listener

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

// Closing it tells the peer that the connection was cut, and drops what was not sent.
void reset_on_close(int fd) {
  const linger at_once{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

void send_at_once(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.begin(), text.end(), value);
  if (error != std::errc{} || end != text.end()) return std::nullopt;
  return value;
}

// The first word, which is taken off `text`.
std::string_view take_word(std::string_view& text) {
  const std::size_t end = std::min(text.find(' '), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return word;
}

constexpr std::array<std::pair<std::string_view, Harm>, 4> kHarms{{{"flip", Harm::kFlip},
                                                                   {"scramble", Harm::kScramble},
                                                                   {"garbage", Harm::kGarbage},
                                                                   {"truncate", Harm::kTruncate}}};

}  // namespace

Result<Proxy> Proxy::listen(const ProxyOptions& options) {
  UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) return fail_errno(errno, "cannot make a socket");
  const int on = 1;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr_in address = loopback(options.listen_port);
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener.get(), kBacklog) != 0) {
    return fail_errno(errno, fmt::format("cannot listen on port {}", options.listen_port));
  }
  return Proxy(std::move(listener), options);
}

// ---- commands ----------------------------------------------------------------------------------

std::string Proxy::obey(std::string_view line) {
  std::string_view rest = line;
  const std::string_view word = take_word(rest);
  if (!do_at_once(word, rest)) return fmt::format("no such command: {}", line);
  drop_over();
  unsigned harms = harms_done_;
  for (const Connection& one : connections_) harms += one.up.harms_done() + one.down.harms_done();
  return fmt::format("ok {} {}", connections_.size(), harms);
}

bool Proxy::do_at_once(std::string_view word, std::string_view argument) {
  for (const auto& [name, which] : kHarms) {
    if (word == name) return harm(which), true;
  }
  if (word == "count") return true;
  if (word == "cut") return reset_all(), true;
  if (word == "fin") return half_open(), true;
  if (word == "pass") return set_weather(Weather::kFair), true;
  if (word == "hold") return set_weather(Weather::kHold), true;
  if (word == "swallow") return set_weather(Weather::kSwallow), true;
  if (word == "refuse") return set_weather(Weather::kRefuse), true;
  const std::optional<std::uint64_t> amount = number(take_word(argument));
  if (!amount) return false;
  if (word == "delay") return max_delay_ms_ = *amount, true;
  if (word != "after" || argument.empty()) return false;
  trap_ = Trap{*amount, std::string(argument)};
  return true;
}

void Proxy::set_weather(Weather weather) {
  weather_ = weather;
  if (weather == Weather::kRefuse) reset_all();
  if (weather != Weather::kFair) return;
  max_delay_ms_ = 0;
  trap_.reset();
  harm(Harm::kNone);
  end_lost();
}

// Every connection, each in one of its directions: whichever comes first is noticed.
void Proxy::harm(Harm harm) {
  for (Connection& connection : connections_) {
    connection.up.arm(Harm::kNone);
    connection.down.arm(Harm::kNone);
    (below(chance_, 2) == 0 ? connection.up : connection.down).arm(harm);
  }
}

void Proxy::half_open() {
  for (Connection& connection : connections_) {
    Stream& ended = below(chance_, 2) == 0 ? connection.up : connection.down;
    ended.end_early();
    ended.deliver();
  }
}

void Proxy::reset(Connection& connection) {
  reset_on_close(connection.near.get());
  reset_on_close(connection.far.get());
  connection.is_over = true;
}

void Proxy::reset_all() {
  for (Connection& connection : connections_) reset(connection);
}

// What lost bytes cannot go on: a stream with a hole would be a fault that no network has.
void Proxy::end_lost() {
  for (Connection& connection : connections_) {
    if (connection.up.has_lost() || connection.down.has_lost()) reset(connection);
  }
}

bool Proxy::read_commands(int command_fd) {
  std::array<char, 512> buffer{};
  const ssize_t received = ::read(command_fd, buffer.data(), buffer.size());
  if (received <= 0) return false;
  command_text_.append(buffer.data(), static_cast<std::size_t>(received));
  for (std::size_t end = command_text_.find('\n'); end != std::string::npos;
       end = command_text_.find('\n')) {
    fmt::print("{}\n", obey(command_text_.substr(0, end)));
    command_text_.erase(0, end + 1);
  }
  std::fflush(stdout);
  return true;
}

// ---- connections -------------------------------------------------------------------------------

void Proxy::accept_one() {
  UniqueFd near(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!near) return;
  if (weather_ == Weather::kRefuse) return reset_on_close(near.get());
  UniqueFd far(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!far) return reset_on_close(near.get());
  send_at_once(near.get());
  send_at_once(far.get());
  const sockaddr_in target = loopback(target_port_);
  const int rc = ::connect(far.get(), reinterpret_cast<const sockaddr*>(&target), sizeof target);
  if (rc != 0 && errno != EINPROGRESS) return reset_on_close(near.get());
  const int near_fd = near.get();
  const int far_fd = far.get();
  connections_.push_back({std::move(near), std::move(far), Stream(near_fd, far_fd, chance_),
                          Stream(far_fd, near_fd, chance_)});
}

void Proxy::drop_over() {
  for (const Connection& connection : connections_) {
    if (connection.is_over) {
      harms_done_ += connection.up.harms_done() + connection.down.harms_done();
    }
  }
  std::erase_if(connections_, [](const Connection& connection) { return connection.is_over; });
}

// The bytes before it have been delivered, if they could be.
void Proxy::spring_trap() {
  if (!trap_ || trap_->left_bytes > 0) return;
  const std::string command = std::exchange(trap_, std::nullopt)->command;
  obey(command);
}

void Proxy::take(Stream& stream) {
  std::size_t limit_bytes = std::numeric_limits<std::size_t>::max();
  if (trap_) limit_bytes = static_cast<std::size_t>(trap_->left_bytes);
  if (limit_bytes == 0) return;
  const std::uint64_t delay_ms = max_delay_ms_ == 0 ? 0 : below(chance_, max_delay_ms_ + 1);
  const std::size_t taken_bytes = stream.take(limit_bytes, monotonic_ns() + delay_ms * kNsPerMs);
  if (trap_) trap_->left_bytes -= taken_bytes;
}

void Proxy::serve(Connection& connection, bool is_near_readable, bool is_far_readable) {
  Stream& up = connection.up;
  Stream& down = connection.down;
  if (weather_ == Weather::kSwallow) {
    if (is_near_readable && up.wants_bytes()) up.swallow();
    if (is_far_readable && down.wants_bytes()) down.swallow();
    return;
  }
  if (is_near_readable && up.wants_bytes()) take(up);
  if (is_far_readable && down.wants_bytes()) take(down);
  const std::uint64_t now_ns = monotonic_ns();
  if (up.may_deliver(now_ns)) up.deliver();
  if (down.may_deliver(now_ns)) down.deliver();
  const bool is_broken = up.is_broken() || down.is_broken();
  if (is_broken) reset(connection);
  const bool is_cut_short =
      (up.ends_connection() && up.is_done()) || (down.ends_connection() && down.is_done());
  if (is_cut_short || (up.is_done() && down.is_done())) connection.is_over = true;
}

// ---- the loop ----------------------------------------------------------------------------------

std::vector<pollfd> Proxy::polls(int command_fd) const {
  const bool moves = weather_ != Weather::kHold;
  std::vector<pollfd> polls{{command_fd, POLLIN, 0}, {moves ? listener_.get() : -1, POLLIN, 0}};
  const std::uint64_t now_ns = monotonic_ns();
  const auto events_of = [&](const Stream& from_it, const Stream& to_it) {
    const bool has_room_for = to_it.has_pending() && to_it.may_deliver(now_ns);
    return static_cast<short>((from_it.wants_bytes() ? POLLIN : 0) | (has_room_for ? POLLOUT : 0));
  };
  for (const Connection& one : connections_) {
    const short near_events = moves ? events_of(one.up, one.down) : short{0};
    const short far_events = moves ? events_of(one.down, one.up) : short{0};
    // A descriptor that is asked for nothing would still report that its peer is gone.
    polls.push_back({near_events == 0 ? -1 : one.near.get(), near_events, 0});
    polls.push_back({far_events == 0 ? -1 : one.far.get(), far_events, 0});
  }
  return polls;
}

int Proxy::sleep_ms() const {
  const std::uint64_t now_ns = monotonic_ns();
  std::uint64_t sleep_ms = kLongestSleepMs;
  for (const Connection& one : connections_) {
    for (const Stream* stream : {&one.up, &one.down}) {
      if (!stream->has_pending() || stream->may_deliver(now_ns)) continue;
      sleep_ms = std::min(sleep_ms, (stream->release_at_ns() - now_ns) / kNsPerMs + 1);
    }
  }
  return static_cast<int>(sleep_ms);
}

void Proxy::run(int command_fd) {
  constexpr short kReadable = POLLIN | POLLHUP | POLLERR;
  for (;;) {
    std::vector<pollfd> polled = polls(command_fd);
    if (::poll(polled.data(), polled.size(), sleep_ms()) < 0 && errno != EINTR) return;
    if (weather_ != Weather::kHold) {
      std::size_t next = kFixedPolls;
      for (Connection& connection : connections_) {
        const bool is_near_readable = (polled[next].revents & kReadable) != 0;
        const bool is_far_readable = (polled[next + 1].revents & kReadable) != 0;
        next += 2;
        serve(connection, is_near_readable, is_far_readable);
      }
      if (polled[1].revents != 0) accept_one();
    }
    spring_trap();
    drop_over();
    if (polled[0].revents != 0 && !read_commands(command_fd)) return;
  }
}

}  // namespace rram::faults
