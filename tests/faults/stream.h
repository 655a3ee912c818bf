// One direction of a connection through the fault proxy: takes bytes from one socket, harms them if
// it was told to, and gives them to the other. It follows the frames of docs/protocol.md, so that
// harm lands where it must be noticed: in a header, or between two frames.
//
// Owned by its ProxiedConnection; one thread. Sockets are non-blocking and outlive it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace rram::faults {

// All chance of one proxy: the same seed makes the same choices.
using Chance = std::mt19937_64;
inline std::uint64_t below(Chance& chance, std::uint64_t limit) { return chance() % limit; }

enum class Harm : std::uint8_t {
  kNone,
  kFlip,      // one bit of the next frame's header
  kScramble,  // one bit of whatever comes next: payload too, where nobody can notice it
  kGarbage,   // random bytes between two frames
  kTruncate,  // part of what comes next, and then the end of the stream
};

// Finds the places of frames in a stream, from their headers.
class FrameCursor {
 public:
  static constexpr std::size_t kHeaderBytes = 16;

  // Position within the header that is being read; kHeaderBytes: in a body.
  [[nodiscard]] std::size_t header_position() const {
    return body_left_ > 0 ? kHeaderBytes : header_.size();
  }
  [[nodiscard]] bool is_between_frames() const { return header_position() == 0; }
  void pass(std::byte byte);
  // Up to `count` bytes of the body that is being read, at once; how many it took.
  std::size_t pass_body(std::size_t count);

 private:
  std::vector<std::byte> header_;
  std::uint64_t body_left_ = 0;
};

class Stream {
 public:
  Stream(int from_fd, int to_fd, Chance& chance)
      : from_fd_(from_fd), to_fd_(to_fd), chance_(chance) {}

  // Harm to be done once, to the next bytes that it fits.
  void arm(Harm harm) { harm_ = harm; }
  // Nothing more is taken: the receiver sees the end of the stream, the sender does not.
  void end_early() { has_ended_ = true; }

  [[nodiscard]] bool wants_bytes() const { return pending_.empty() && !has_ended_; }
  [[nodiscard]] bool may_deliver(std::uint64_t now_ns) const { return release_at_ns_ <= now_ns; }
  [[nodiscard]] std::uint64_t release_at_ns() const { return release_at_ns_; }
  [[nodiscard]] bool has_pending() const { return !pending_.empty(); }

  // Takes at most `limit_bytes`, which may go from `release_at_ns` on. Returns how many.
  std::size_t take(std::size_t limit_bytes, std::uint64_t release_at_ns);
  // The same, but nobody ever gets them.
  void swallow();
  void deliver();

  [[nodiscard]] bool is_done() const { return is_done_; }
  [[nodiscard]] bool is_broken() const { return is_broken_; }
  // Bytes, or its end, were swallowed: the connection cannot go on.
  [[nodiscard]] bool has_lost() const { return has_lost_; }
  [[nodiscard]] unsigned harms_done() const { return harms_done_; }
  // The whole connection ends when this direction has.
  [[nodiscard]] bool ends_connection() const { return ends_connection_; }

 private:
  std::size_t receive(std::vector<std::byte>& room);
  void harm_pending();
  bool flip_header_bit();
  bool insert_garbage();
  void follow(std::size_t begin, std::size_t end);

  const int from_fd_;
  const int to_fd_;
  Chance& chance_;
  FrameCursor cursor_;
  Harm harm_ = Harm::kNone;
  std::vector<std::byte> pending_;
  std::uint64_t release_at_ns_ = 0;
  bool has_ended_ = false;
  bool is_done_ = false;
  bool is_broken_ = false;
  bool has_lost_ = false;
  bool ends_connection_ = false;
  unsigned harms_done_ = 0;
};

}  // namespace rram::faults
