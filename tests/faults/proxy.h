// The fault proxy: stands between requesters and one provider on loopback TCP, and is the network
// at its worst, on command. One thread, one poll(2) loop; for tests, where its speed is no matter.
#pragma once

#include <poll.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "tests/faults/stream.h"

namespace rram::faults {

struct ProxyOptions {
  std::uint16_t listen_port = 0;
  std::uint16_t target_port = 0;
  std::uint64_t seed = 0;
};

class Proxy {
 public:
  static Result<Proxy> listen(const ProxyOptions& options);

  // Serves until `command_fd` ends; each line from it is a command and has one line of answer on
  // standard output.
  void run(int command_fd);

  // Does what a line says (fault_proxy --help); the answer is "ok CONNECTIONS HARMS" or "no such
  // command".
  std::string obey(std::string_view line);

 private:
  // What happens to everything until the next of these.
  enum class Weather : std::uint8_t {
    kFair,     // bytes go through
    kHold,     // nothing moves; nothing is lost
    kSwallow,  // bytes are taken and thrown away, connections too
    kRefuse,   // connections are reset as soon as they come
  };

  struct Connection {
    UniqueFd near;  // to the requester
    UniqueFd far;   // to the provider
    Stream up;
    Stream down;
    bool is_over = false;
  };

  // A command that is obeyed when so many more bytes have gone through.
  struct Trap {
    std::uint64_t left_bytes;
    std::string command;
  };

  Proxy(UniqueFd listener, const ProxyOptions& options)
      : listener_(std::move(listener)), target_port_(options.target_port), chance_(options.seed) {}

  bool do_at_once(std::string_view word, std::string_view argument);
  void set_weather(Weather weather);
  void harm(Harm harm);
  void half_open();
  static void reset(Connection& connection);
  void reset_all();
  void end_lost();
  void accept_one();
  void drop_over();
  void serve(Connection& connection, bool is_near_readable, bool is_far_readable);
  void take(Stream& stream);
  void spring_trap();
  [[nodiscard]] std::vector<pollfd> polls(int command_fd) const;
  [[nodiscard]] int sleep_ms() const;
  bool read_commands(int command_fd);

  UniqueFd listener_;
  std::uint16_t target_port_;
  Chance chance_;
  Weather weather_ = Weather::kFair;
  std::uint64_t max_delay_ms_ = 0;
  std::optional<Trap> trap_;
  std::list<Connection> connections_;
  unsigned harms_done_ = 0;  // on connections that are over
  std::string command_text_;
};

}  // namespace rram::faults
