#include "tests/faults/stream.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace rram::faults {

namespace {

constexpr std::size_t kTakeBytes = std::size_t{256} << 10;
constexpr std::size_t kGarbageBytes = 64;
constexpr std::uint64_t kBitsPerByte = 8;

}  // namespace

void FrameCursor::pass(std::byte byte) {
  if (body_left_ > 0) {
    --body_left_;
    return;
  }
  header_.push_back(byte);
  if (header_.size() < kHeaderBytes) return;
  std::uint32_t body_bytes = 0;  // the first field of a header
  std::memcpy(&body_bytes, header_.data(), sizeof body_bytes);
  body_left_ = body_bytes;
  header_.clear();
}

std::size_t FrameCursor::pass_body(std::size_t count) {
  const auto taken = static_cast<std::size_t>(std::min<std::uint64_t>(count, body_left_));
  body_left_ -= taken;
  return taken;
}

std::size_t Stream::receive(std::vector<std::byte>& room) {
  const ssize_t received = ::recv(from_fd_, room.data(), room.size(), 0);
  if (received > 0) return static_cast<std::size_t>(received);
  if (received == 0) {
    has_ended_ = true;
  } else if (errno != EAGAIN && errno != EINTR) {
    has_ended_ = true;
    is_broken_ = true;
  }
  return 0;
}

std::size_t Stream::take(std::size_t limit_bytes, std::uint64_t release_at_ns) {
  std::vector<std::byte> room(std::min(kTakeBytes, limit_bytes));
  const std::size_t taken = receive(room);
  room.resize(taken);
  pending_ = std::move(room);
  release_at_ns_ = release_at_ns;
  if (taken > 0) harm_pending();
  return taken;
}

void Stream::swallow() {
  std::vector<std::byte> room(kTakeBytes);
  if (receive(room) > 0 || has_ended_) has_lost_ = true;
  is_broken_ = false;  // that the sender is gone is swallowed too
}

void Stream::deliver() {
  if (!pending_.empty()) {
    const ssize_t sent = ::send(to_fd_, pending_.data(), pending_.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) is_broken_ = true;
    if (sent > 0) pending_.erase(pending_.begin(), pending_.begin() + sent);
  }
  if (!pending_.empty() || !has_ended_ || is_done_) return;
  ::shutdown(to_fd_, SHUT_WR);
  is_done_ = true;
}

// The cursor follows what the sender meant, so that it stays right after a header was harmed.
void Stream::harm_pending() {
  bool is_done = false;
  switch (harm_) {
    case Harm::kNone:
      break;
    case Harm::kFlip:
      is_done = flip_header_bit();
      break;
    case Harm::kGarbage:
      is_done = insert_garbage();
      break;
    case Harm::kScramble:
      follow(0, pending_.size());
      pending_[below(chance_, pending_.size())] ^= std::byte{1} << below(chance_, kBitsPerByte);
      is_done = true;
      break;
    case Harm::kTruncate:
      pending_.resize(below(chance_, pending_.size()));
      has_ended_ = true;
      ends_connection_ = true;
      is_done = true;
      break;
  }
  if (!is_done) {
    if (harm_ == Harm::kNone) follow(0, pending_.size());
    return;
  }
  harm_ = Harm::kNone;
  ++harms_done_;
}

void Stream::follow(std::size_t begin, std::size_t end) {
  while (begin < end) {
    begin += cursor_.pass_body(end - begin);
    if (begin < end) cursor_.pass(pending_[begin++]);
  }
}

bool Stream::flip_header_bit() {
  const std::size_t position = below(chance_, FrameCursor::kHeaderBytes);
  const std::byte bit = std::byte{1} << below(chance_, kBitsPerByte);
  for (std::size_t at = 0; at < pending_.size();) {
    at += cursor_.pass_body(pending_.size() - at);
    if (at == pending_.size()) return false;
    const bool is_the_one = cursor_.header_position() == position;
    const std::size_t here = at++;
    cursor_.pass(pending_[here]);
    if (!is_the_one) continue;
    follow(at, pending_.size());
    pending_[here] ^= bit;
    return true;
  }
  return false;
}

bool Stream::insert_garbage() {
  for (std::size_t at = 0; at <= pending_.size();) {
    if (cursor_.is_between_frames()) {
      follow(at, pending_.size());
      std::vector<std::byte> garbage(kGarbageBytes);
      for (std::byte& byte : garbage) byte = std::byte(below(chance_, 256));
      pending_.insert(pending_.begin() + static_cast<std::ptrdiff_t>(at), garbage.begin(),
                      garbage.end());
      return true;
    }
    if (at == pending_.size()) return false;
    const std::size_t skipped = cursor_.pass_body(pending_.size() - at);
    at += skipped;
    if (skipped == 0) cursor_.pass(pending_[at++]);
  }
  return false;
}

}  // namespace rram::faults
