#include "rdma/tcp/data_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <iterator>
#include <new>

#include "rdma/wire/codec.h"

namespace rram {

namespace {

// One send takes at most about this much, so that a finished Operation does not wait for a long
// queue behind it to leave.
constexpr std::size_t kMaxSendBytes = std::size_t{512} << 10;
// From here on the rest of a reply is received alone, with one wake-up instead of one for each
// piece that comes.
constexpr std::size_t kLargeReplyBytes = std::size_t{64} << 10;

// What an Operation in flight keeps in its scratch.
struct Frames {
  DataRequest request;
  std::array<std::byte, sizeof(FrameHeader)> reply;
};
static_assert(sizeof(Frames) <= sizeof(Operation::transport_scratch));
static_assert(kMaxOperationBytes == kMaxDataBytes);

Frames& frames_of(Operation& operation) {
  return *std::launder(reinterpret_cast<Frames*>(operation.transport_scratch.data()));
}

std::size_t request_bytes(const Operation& operation) {
  const bool is_write = operation.kind == Operation::Kind::kWrite;
  return sizeof(DataRequest) + (is_write ? operation.local.size() : 0);
}

std::size_t reply_bytes(const Operation& operation) {
  const bool is_read = operation.kind == Operation::Kind::kRead;
  return sizeof(FrameHeader) + (is_read ? operation.local.size() : 0);
}

// Appends [header][payload] from `skip_bytes` on, at most `limit_bytes`; returns the bytes added.
class PartsBuilder {
 public:
  explicit PartsBuilder(std::span<iovec> parts) : parts_(parts) {}

  // Room for one more frame: a header and a payload.
  [[nodiscard]] bool has_room() const { return parts_.size() - used_ >= 2; }
  [[nodiscard]] std::size_t used() const { return used_; }
  [[nodiscard]] std::size_t total_bytes() const { return total_bytes_; }

  void add_frame(std::span<std::byte> header, std::span<std::byte> payload, std::size_t skip_bytes,
                 std::size_t limit_bytes) {
    const std::size_t skip_header = std::min(skip_bytes, header.size());
    add(header.subspan(skip_header), limit_bytes);
    add(payload.subspan(skip_bytes - skip_header), limit_bytes);
  }

 private:
  void add(std::span<std::byte> bytes, std::size_t limit_bytes) {
    const std::size_t length = std::min(bytes.size(), limit_bytes - total_bytes_);
    if (length == 0) return;
    parts_[used_++] = {bytes.data(), length};
    total_bytes_ += length;
  }

  std::span<iovec> parts_;
  std::size_t used_ = 0;
  std::size_t total_bytes_ = 0;
};

std::span<std::byte> payload_to_send(const Operation& operation) {
  return operation.kind == Operation::Kind::kWrite ? operation.local : std::span<std::byte>{};
}

std::span<std::byte> payload_to_receive(const Operation& operation) {
  return operation.kind == Operation::Kind::kRead ? operation.local : std::span<std::byte>{};
}

}  // namespace

void DataStream::push(Operation& operation) {
  const auto length = static_cast<std::uint32_t>(operation.local.size());
  assert(length > 0 && length <= kMaxDataBytes);
  auto* frames = ::new (operation.transport_scratch.data()) Frames;
  const bool is_read = operation.kind == Operation::Kind::kRead;
  frames->request =
      is_read ? make_read(next_tag_, operation.region->index, operation.offset_bytes, length)
              : make_write(next_tag_, operation.region->index, operation.offset_bytes, length);
  ++next_tag_;
  operations_.push_back(operation);
  if (next_send_ == operations_.end()) next_send_ = std::prev(operations_.end());
  if (next_reply_ == operations_.end()) next_reply_ = std::prev(operations_.end());
}

std::size_t DataStream::plan_send(std::span<iovec> parts) {
  PartsBuilder builder(parts);
  std::size_t skip_bytes = sent_bytes_;
  for (auto at = next_send_; at != operations_.end() && builder.has_room(); ++at) {
    if (builder.total_bytes() >= kMaxSendBytes) break;
    DataRequest& request = frames_of(*at).request;
    builder.add_frame(std::as_writable_bytes(std::span(&request, 1)), payload_to_send(*at),
                      skip_bytes, kMaxSendBytes);
    skip_bytes = 0;
  }
  return builder.used();
}

void DataStream::on_sent(std::size_t sent_bytes) {
  while (sent_bytes > 0) {
    assert(next_send_ != operations_.end());
    const std::size_t left_bytes = request_bytes(*next_send_) - sent_bytes_;
    if (sent_bytes < left_bytes) {
      sent_bytes_ += sent_bytes;
      return;
    }
    sent_bytes -= left_bytes;
    sent_bytes_ = 0;
    ++next_send_;
    ++first_unsent_tag_;
  }
}

DataStream::ReceivePlan DataStream::plan_receive(std::span<iovec> parts) {
  PartsBuilder builder(parts);
  if (stray_bytes_ > 0 || next_reply_ == operations_.end()) {
    // First a header, then as much as that header says: see check_stray().
    std::size_t want_bytes = sizeof(FrameHeader);
    if (stray_bytes_ >= want_bytes) {
      FrameHeader header;
      std::memcpy(&header, stray_.data(), sizeof header);
      want_bytes = std::min(sizeof header + header.body_bytes, stray_.size());
    }
    builder.add_frame(std::span(stray_).first(want_bytes), {}, stray_bytes_, want_bytes);
    return {builder.used(), false};
  }
  const std::size_t head_bytes = reply_bytes(*next_reply_) - reply_bytes_;
  const bool is_large = head_bytes >= kLargeReplyBytes;
  std::size_t skip_bytes = reply_bytes_;
  for (auto at = next_reply_; at != operations_.end() && builder.has_room(); ++at) {
    builder.add_frame(frames_of(*at).reply, payload_to_receive(*at), skip_bytes, SIZE_MAX);
    skip_bytes = 0;
    if (builder.total_bytes() >= kLargeReplyBytes) break;
  }
  return {builder.used(), is_large};
}

Status DataStream::on_received(std::size_t received_bytes) {
  assert(received_bytes > 0);
  if (stray_bytes_ > 0 || next_reply_ == operations_.end()) {
    stray_bytes_ += received_bytes;
    return check_stray();
  }
  while (received_bytes > 0) {
    assert(next_reply_ != operations_.end());
    const bool had_header = reply_bytes_ >= sizeof(FrameHeader);
    const std::size_t taken_bytes =
        std::min(received_bytes,
                 (had_header ? reply_bytes(*next_reply_) : sizeof(FrameHeader)) - reply_bytes_);
    reply_bytes_ += taken_bytes;
    received_bytes -= taken_bytes;
    if (!had_header && reply_bytes_ == sizeof(FrameHeader)) {
      if (Status status = check_reply_header(); !status) return status;
      if (stray_bytes_ > 0) {
        collect_error_body(received_bytes);
        return check_stray();
      }
    }
    if (reply_bytes_ == reply_bytes(*next_reply_)) {
      reply_bytes_ = 0;
      ++next_reply_;
      ++first_unanswered_tag_;
    }
  }
  return {};
}

Status DataStream::check_reply_header() {
  const Frames& frames = frames_of(*next_reply_);
  const Result<FrameHeader> header = decode_frame_header(frames.reply);
  if (!header) return std::unexpected(header.error());
  if (header->type == FrameType::kError) {
    std::ranges::copy(frames.reply, stray_.begin());
    stray_bytes_ = frames.reply.size();
    return {};
  }
  return check_data_reply(*header, frames.request);
}

void DataStream::collect_error_body(std::size_t bytes) {
  auto at = next_reply_;
  std::span<const std::byte> place = payload_to_receive(*at);
  while (bytes > 0 && stray_bytes_ < stray_.size()) {
    const std::size_t length = std::min({bytes, place.size(), stray_.size() - stray_bytes_});
    std::ranges::copy(place.first(length),
                      stray_.begin() + static_cast<std::ptrdiff_t>(stray_bytes_));
    stray_bytes_ += length;
    bytes -= length;
    // The next place: the header, then the payload of the reply behind.
    const bool was_header = at != next_reply_ && place.data() == frames_of(*at).reply.data();
    if (was_header) {
      place = payload_to_receive(*at);
    } else {
      ++at;
      if (at == operations_.end()) return;
      place = frames_of(*at).reply;
    }
  }
}

Status DataStream::check_stray() {
  if (stray_bytes_ < sizeof(FrameHeader)) return {};
  const std::span<const std::byte> bytes = std::span(stray_).first(stray_bytes_);
  const Result<FrameHeader> header = decode_frame_header(bytes.first(sizeof(FrameHeader)));
  if (!header) return std::unexpected(header.error());
  if (header->type != FrameType::kError) {
    return fail(ErrorCode::kProtocol,
                fmt::format("it sent {}, and nothing was asked", frame_type_name(header->type)));
  }
  const std::span<const std::byte> body = bytes.subspan(sizeof(FrameHeader));
  if (body.size() < header->body_bytes) return {};  // the rest will come
  const Result<DecodedError> error = decode_error(body.first(header->body_bytes));
  if (!error) return std::unexpected(error.error());
  return fail(error_code_of(error->code),
              fmt::format("it said {}: {}", wire_error_name(error->code), error->text));
}

Operation* DataStream::take_finished() {
  if (operations_.empty()) return nullptr;
  const std::uint64_t tag = frames_of(operations_.front()).request.header.tag;
  if (tag >= first_unsent_tag_ || tag >= first_unanswered_tag_) return nullptr;
  Operation& operation = operations_.front();
  operations_.pop_front();
  return &operation;
}

Operation* DataStream::take_any() {
  if (operations_.empty()) return nullptr;
  Operation& operation = operations_.front();
  if (next_send_ == operations_.begin()) ++next_send_;
  if (next_reply_ == operations_.begin()) ++next_reply_;
  operations_.pop_front();
  return &operation;
}

const Operation* DataStream::find_overdue(std::uint64_t now_ns) const {
  const auto found = std::ranges::find_if(operations_, [now_ns](const Operation& operation) {
    return operation.deadline_ns <= now_ns;
  });
  return found == operations_.end() ? nullptr : &*found;
}

}  // namespace rram
