#include "rdma/control/socket_channel.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/io.h"
#include "rdma/control/descriptor_passing.h"

namespace rram {

Task<int> SocketChannel::receive(std::span<std::byte> buffer, std::uint64_t deadline_ns) {
  return records_ ? receive_opened(buffer, deadline_ns) : receive_raw(buffer, deadline_ns);
}

Task<int> SocketChannel::receive_unread(std::span<std::byte> buffer) {
  return receive_raw(buffer, kNoDeadline);
}

Task<int> SocketChannel::receive_opened(std::span<std::byte> buffer, std::uint64_t deadline_ns) {
  for (;;) {
    const Result<std::span<const std::byte>> opened = records_->opened();
    if (!opened) {
      co_return opened.error().code == ErrorCode::kUnavailable ? -EKEYEXPIRED : -EBADMSG;
    }
    if (!opened->empty()) {
      const std::size_t length = std::min(opened->size(), buffer.size());
      std::ranges::copy(opened->first(length), buffer.begin());
      records_->consume(length);
      co_return static_cast<int>(length);
    }
    const int received = co_await receive_raw(records_->room(), deadline_ns);
    if (received <= 0) co_return received;
    records_->on_received(static_cast<std::size_t>(received));
  }
}

Task<int> SocketChannel::receive_raw(std::span<std::byte> buffer, std::uint64_t deadline_ns) {
  DescriptorSpace control;
  iovec part{buffer.data(), buffer.size()};
  reception_.message = {};
  reception_.message.msg_iov = &part;
  reception_.message.msg_iovlen = 1;
  reception_.message.msg_control = control.bytes.data();
  reception_.message.msg_controllen = control.bytes.size();
  reception_.deadline_ns = deadline_ns;
  const int received = co_await reception_;
  if (received <= 0) co_return received;
  keep_descriptors(reception_.message);
  co_return (reception_.message.msg_flags & MSG_CTRUNC) != 0 ? -EMSGSIZE : received;
}

void SocketChannel::Reception::await_suspend(std::coroutine_handle<> awaiter) {
  awaiter_ = awaiter;
  is_overdue_ = false;
  channel_.loop_.submit_with(this, [this](io_uring_sqe* entry) {
    io_uring_prep_recvmsg(entry, channel_.socket_.get(), &message, MSG_CMSG_CLOEXEC);
  });
  if (deadline_ns == kNoDeadline) return;
  timer_ = channel_.loop_.call_at(deadline_ns, [this] {
    timer_.reset();
    is_overdue_ = true;
    channel_.loop_.cancel(*this);
  });
}

void SocketChannel::Reception::on_completion(std::int32_t result, std::uint32_t /*flags*/) {
  if (timer_) channel_.loop_.cancel_timer(*std::exchange(timer_, std::nullopt));
  result_ = is_overdue_ && result < 0 ? -ETIMEDOUT : result;
  std::exchange(awaiter_, nullptr).resume();
}

void SocketChannel::Reception::call_off() {
  if (awaiter_) channel_.loop_.cancel(*this);
}

void SocketChannel::keep_descriptors(msghdr& message) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      descriptors_.emplace_back(fd);
    }
  }
}

Task<int> SocketChannel::send(std::span<const std::byte> bytes) {
  if (records_) co_return co_await send_sealed(bytes);
  const int sent = co_await send_all(loop_, socket_.get(), bytes);
  if (sent < 0) co_return sent;
  co_return static_cast<std::size_t>(sent) == bytes.size() ? sent : -EPIPE;
}

Task<int> SocketChannel::send_sealed(std::span<const std::byte> bytes) {
  for (std::size_t at = 0; at < bytes.size();) {
    const Result<std::size_t> taken = records_->seal(bytes.subspan(at));
    if (!taken) co_return -EKEYEXPIRED;
    at += *taken;
    const std::span<const std::byte> sealed = records_->unsent();
    const int sent = co_await send_all(loop_, socket_.get(), sealed);
    if (sent < 0) co_return sent;
    if (static_cast<std::size_t>(sent) != sealed.size()) co_return -EPIPE;
    records_->on_sent(sealed.size());
  }
  co_return static_cast<int>(bytes.size());
}

bool SocketChannel::send_now(std::span<const std::byte> bytes) {
  if (!records_) return send_raw_now(bytes);
  for (std::size_t at = 0; at < bytes.size();) {
    const Result<std::size_t> taken = records_->seal(bytes.subspan(at));
    if (!taken || !send_raw_now(records_->unsent())) return false;
    records_->on_sent(records_->unsent().size());
    at += *taken;
  }
  return true;
}

bool SocketChannel::send_raw_now(std::span<const std::byte> bytes) {
  const ssize_t sent =
      ::send(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent == static_cast<ssize_t>(bytes.size());
}

Status SocketChannel::start_records(const RecordKeys& keys) {
  auto records = RecordStream::create(keys);
  if (!records) return std::unexpected(records.error());
  records_ = std::move(*records);
  return {};
}

void SocketChannel::end_sending() { ::shutdown(socket_.get(), SHUT_WR); }

void SocketChannel::shut_down() {
  if (socket_) ::shutdown(socket_.get(), SHUT_RDWR);
}

Task<> SocketChannel::close() { co_return; }

}  // namespace rram
