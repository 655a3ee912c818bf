#include "rdma/tcp/tcp_responder.h"

#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

#include "rdma/tcp/scatter.h"

namespace rram {

namespace {

// One writer, any reader: no locked instruction is needed.
void add(std::atomic<std::uint64_t>& counter, std::uint64_t amount) {
  counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}

RegionLimits limits_of(const std::vector<std::span<std::byte>>& regions) {
  return {static_cast<std::uint32_t>(regions.size()), regions.empty() ? 0 : regions.front().size()};
}

bool overlap(std::span<const std::byte> a, std::span<const std::byte> b) {
  return !a.empty() && !b.empty() && a.data() < b.data() + b.size() &&
         b.data() < a.data() + a.size();
}

}  // namespace

TcpResponder::TcpResponder(EventLoop& loop, int socket_fd, RecordStream* records,
                           std::vector<std::span<std::byte>> regions, DataCounters& counters)
    : loop_(loop),
      socket_fd_(socket_fd),
      records_(records),
      regions_(std::move(regions)),
      limits_(limits_of(regions_)),
      counters_(counters),
      look_ahead_(kWideLookAheadBytes) {
  queued_.reserve(kMaxQueuedReplies);
  sending_.reserve(kMaxQueuedReplies);
  send_parts_.reserve(2 * kMaxQueuedReplies);
}

TcpResponder::~TcpResponder() {
  assert(sending_.empty());
  loop_.forget(*this);
}

Task<Status> TcpResponder::serve() {
  while (!ending_) {
    const Need need = take_buffered();
    if (need == Need::kEnd) break;
    if (need == Need::kRepliesSent) {
      if (sending_.empty()) flush();
      co_await SendEnd{*this};
      continue;
    }
    prepare_reception();
    if (records_ != nullptr) {
      Result<bool> accepted = accept_opened();
      if (!accepted) refuse(WireError::kProtocol, std::move(accepted.error()));
      if (!accepted || *accepted) continue;
      receive_into(records_->room());
    }
    const int received = co_await reception_;
    if (received > 0) {
      take_received(static_cast<std::size_t>(received));
      continue;
    }
    // 0: the peer will send nothing more; what it asked for is still answered.
    if (received < 0 && !ending_) {
      ending_ = fail_errno(-received, "receiving from the requester").error();
      ending_->code = ErrorCode::kDisconnected;
    }
    break;
  }
  while (!sending_.empty() || !queued_.empty()) {
    if (is_stopped_) queued_.clear();
    if (sending_.empty()) flush();
    co_await SendEnd{*this};
  }
  if (ending_) co_return std::unexpected(*ending_);
  co_return Status{};
}

void TcpResponder::stop(WireError code, std::string_view text) {
  if (is_stopped_) return;
  is_stopped_ = true;
  if (!ending_) ending_ = Error{ErrorCode::kCancelled, std::string(text)};
  // In the middle of a reply it would be no frame.
  if (sending_.empty()) send_now(encode_error(code, text));
  ::shutdown(socket_fd_, SHUT_RDWR);
}

void TcpResponder::send_now(std::span<const std::byte> frame) {
  if (records_ != nullptr) {
    if (!records_->seal(frame)) return;
    frame = records_->unsent();
  }
  ::send(socket_fd_, frame.data(), frame.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

// ---- receiving ---------------------------------------------------------------------------------

void TcpResponder::prepare_reception() {
  std::size_t parts = 0;
  if (!write_rest_.empty()) {
    assert(buffered_bytes() == 0);
    receive_parts_[parts++] = {write_rest_.data(), write_rest_.size()};
  }
  if (look_begin_ > 0) {  // what is left is less than one request
    std::memmove(look_ahead_.data(), look_ahead_.data() + look_begin_, buffered_bytes());
    look_end_ -= std::exchange(look_begin_, 0);
  }
  receive_parts_[parts++] = {look_ahead_.data() + look_end_, look_ahead_limit_ - look_end_};
  receive_message_.msg_iov = receive_parts_.data();
  receive_message_.msg_iovlen = parts;
}

void TcpResponder::take_received(std::size_t received_bytes) {
  if (records_ != nullptr) {
    records_->on_received(received_bytes);
  } else {
    accept_received(received_bytes);
  }
}

void TcpResponder::receive_into(std::span<std::byte> bytes) {
  receive_parts_.front() = {bytes.data(), bytes.size()};
  receive_message_.msg_iovlen = 1;
}

// Moves the payload of the record that is open, or of the next one, to the places of
// prepare_reception(). False: no whole record is there.
Result<bool> TcpResponder::accept_opened() {
  const Result<std::span<const std::byte>> opened = records_->opened();
  if (!opened) return std::unexpected(opened.error());
  if (opened->empty()) return false;
  const std::size_t placed_bytes =
      scatter(*opened, std::span(receive_parts_).first(receive_message_.msg_iovlen));
  records_->consume(placed_bytes);
  accept_received(placed_bytes);
  return true;
}

void TcpResponder::accept_received(std::size_t received_bytes) {
  const std::size_t placed_bytes = std::min(received_bytes, write_rest_.size());
  write_rest_ = write_rest_.subspan(placed_bytes);
  look_end_ += received_bytes - placed_bytes;
  if (placed_bytes > 0 && write_rest_.empty()) finish_write();
}

void TcpResponder::Reception::await_suspend(std::coroutine_handle<> awaiter) {
  awaiter_ = awaiter;
  responder_.loop_.submit_with(this, [this](io_uring_sqe* entry) {
    io_uring_prep_recvmsg(entry, responder_.socket_fd_, &responder_.receive_message_, 0);
    // An attempt that is bound to find nothing costs as much as one that finds something.
    if (!expect_bytes_) entry->ioprio |= IORING_RECVSEND_POLL_FIRST;
  });
}

void TcpResponder::Reception::on_completion(std::int32_t result, std::uint32_t flags) {
  result_ = result;
  expect_bytes_ = (flags & IORING_CQE_F_SOCK_NONEMPTY) != 0;
  awaiter_.resume();
}

// ---- requests ----------------------------------------------------------------------------------

TcpResponder::Need TcpResponder::take_buffered() {
  if (is_request_pending_) {
    const Need need = begin_write();
    if (need == Need::kRepliesSent) return need;
  }
  for (;;) {
    take_payload();
    if (!write_rest_.empty()) return Need::kBytes;
    if (queued_.size() >= kMaxQueuedReplies) return Need::kRepliesSent;
    const std::size_t before_bytes = buffered_bytes();
    const Need need = take_request();
    if (need != Need::kBytes || buffered_bytes() == before_bytes) return need;
  }
}

// Moves payload that came into the look-ahead buffer to its place.
void TcpResponder::take_payload() {
  const std::size_t moved_bytes = std::min(buffered_bytes(), write_rest_.size());
  if (moved_bytes == 0) return;
  place(write_rest_.data(), std::span(look_ahead_).subspan(look_begin_, moved_bytes));
  look_begin_ += moved_bytes;
  write_rest_ = write_rest_.subspan(moved_bytes);
  if (write_rest_.empty()) finish_write();
}

TcpResponder::Need TcpResponder::take_request() {
  const std::span<const std::byte> bytes(look_ahead_.data() + look_begin_, buffered_bytes());
  if (bytes.size() >= sizeof(FrameHeader)) {
    FrameHeader header{};
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.type == FrameType::kError) {
      ending_ = Error{ErrorCode::kDisconnected, "the requester ended the lane with an ERROR frame"};
      return Need::kEnd;
    }
  }
  if (bytes.size() < sizeof(DataRequest)) return Need::kBytes;
  Result<DataRequest> request = decode_data_request(bytes.first(sizeof(DataRequest)));
  if (!request) return refuse(WireError::kProtocol, std::move(request.error()));
  Status in_range = check_data_range(*request, limits_);
  if (!in_range) return refuse(WireError::kOutOfRange, std::move(in_range.error()));
  look_begin_ += sizeof(DataRequest);
  if (request->header.type == FrameType::kWrite) {
    request_ = *request;
    look_ahead_limit_ =
        request_.length <= kSmallWriteBytes ? kWideLookAheadBytes : kNarrowLookAheadBytes;
    return begin_write();
  }
  add(counters_.reads, 1);
  add(counters_.read_bytes, request->length);
  queue_reply(make_read_reply(request->header.tag, request->length),
              regions_[request->region].subspan(request->offset, request->length));
  return Need::kBytes;
}

// Requests of one lane are carried out in order: a WRITE must not overtake the READ of the same
// bytes whose reply has not left yet.
TcpResponder::Need TcpResponder::begin_write() {
  const std::span<std::byte> target =
      regions_[request_.region].subspan(request_.offset, request_.length);
  is_request_pending_ = is_being_read(target);
  if (is_request_pending_) return Need::kRepliesSent;
  write_rest_ = target;
  return Need::kBytes;
}

void TcpResponder::finish_write() {
  add(counters_.writes, 1);
  add(counters_.written_bytes, request_.length);
  queue_reply(make_write_reply(request_.header.tag), {});
}

bool TcpResponder::is_being_read(std::span<const std::byte> memory) const {
  for (const Reply& reply : sending_) {
    if (overlap(reply.payload, memory)) return true;
  }
  for (const Reply& reply : queued_) {
    if (overlap(reply.payload, memory)) return true;
  }
  return false;
}

TcpResponder::Need TcpResponder::refuse(WireError code, Error reason) {
  error_frame_ = encode_error(code, reason.message);
  const std::span<const std::byte> frame(error_frame_);
  FrameHeader header{};
  std::memcpy(&header, frame.data(), sizeof header);
  queue_reply(header, frame.subspan(sizeof header));
  ending_ = std::move(reason);
  return Need::kEnd;
}

// ---- sending -----------------------------------------------------------------------------------

void TcpResponder::queue_reply(const FrameHeader& header, std::span<const std::byte> payload) {
  queued_.push_back({header, payload});
  if (sending_.empty()) loop_.flush_later(*this);
}

void TcpResponder::flush() {
  if (!sending_.empty() || queued_.empty() || is_stopped_) return;
  sending_.swap(queued_);
  send_parts_.clear();
  next_part_ = 0;
  for (Reply& reply : sending_) {
    send_parts_.push_back({&reply.header, sizeof reply.header});
    if (reply.payload.empty()) continue;
    // sendmsg does not write to what it sends.
    send_parts_.push_back({const_cast<std::byte*>(reply.payload.data()), reply.payload.size()});
  }
  submit_send();
}

void TcpResponder::submit_send() {
  if (records_ != nullptr) {
    if (!records_->has_unsent() && !seal_parts()) return;
    const std::span<const std::byte> unsent = records_->unsent();
    sealed_part_ = {const_cast<std::byte*>(unsent.data()), unsent.size()};
    send_message_.msg_iov = &sealed_part_;
    send_message_.msg_iovlen = 1;
  } else {
    send_message_.msg_iov = send_parts_.data() + next_part_;
    send_message_.msg_iovlen = send_parts_.size() - next_part_;
  }
  loop_.submit_with(&transmission_, [this](io_uring_sqe* entry) {
    io_uring_prep_sendmsg(entry, socket_fd_, &send_message_, MSG_WAITALL | MSG_NOSIGNAL);
  });
}

void TcpResponder::Transmission::on_completion(std::int32_t result, std::uint32_t /*flags*/) {
  responder_.on_sent(result);
}

void TcpResponder::on_sent(std::int32_t result) {
  if (result <= 0) return give_up_sending(fail_errno(-result, "sending to the requester").error());
  bool has_more = false;
  if (records_ != nullptr) {
    records_->on_sent(static_cast<std::size_t>(result));
    has_more = records_->has_unsent() || next_part_ < send_parts_.size();
  } else {
    has_more = skip_parts(static_cast<std::size_t>(result));
  }
  if (has_more && !is_stopped_) return submit_send();  // short: the rest goes by itself
  end_sending();
}

// The parts that come next go into records, as many as one send takes. False: they cannot, and all
// is over.
bool TcpResponder::seal_parts() {
  const Result<std::size_t> sealed_bytes =
      records_->seal(std::span(send_parts_).subspan(next_part_));
  if (!sealed_bytes) {
    give_up_sending(sealed_bytes.error());
    return false;
  }
  skip_parts(*sealed_bytes);
  return true;
}

// So much of the parts has been dealt with; false: that was all.
bool TcpResponder::skip_parts(std::size_t bytes) {
  while (next_part_ < send_parts_.size() && bytes >= send_parts_[next_part_].iov_len) {
    bytes -= send_parts_[next_part_++].iov_len;
  }
  if (next_part_ == send_parts_.size()) return false;
  iovec& part = send_parts_[next_part_];
  part.iov_base = static_cast<std::byte*>(part.iov_base) + bytes;
  part.iov_len -= bytes;
  return true;
}

void TcpResponder::give_up_sending(Error reason) {
  if (!ending_) ending_ = Error{ErrorCode::kDisconnected, std::move(reason.message)};
  is_stopped_ = true;
  ::shutdown(socket_fd_, SHUT_RDWR);  // wakes the receive
  end_sending();
}

void TcpResponder::end_sending() {
  sending_.clear();
  if (is_stopped_) queued_.clear();
  if (!queued_.empty()) loop_.flush_later(*this);
  if (send_waiter_) std::exchange(send_waiter_, nullptr).resume();
}

}  // namespace rram
