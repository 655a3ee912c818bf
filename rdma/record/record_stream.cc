#include "rdma/record/record_stream.h"

#include <array>
#include <cassert>
#include <cstring>
#include <utility>

namespace rram {

namespace {

// Takes the bytes of one record after the other from the front of a list of parts.
class RecordCutter {
 public:
  explicit RecordCutter(std::span<const iovec> parts) : parts_(parts) {}

  // The parts of the next record: none when all is taken.
  std::span<const iovec> next() {
    std::size_t used = 0;
    std::size_t payload_bytes = 0;
    while (!parts_.empty() && used < record_.size() && payload_bytes < kMaxRecordPayloadBytes) {
      const iovec& part = parts_.front();
      const std::size_t length =
          std::min(part.iov_len - skip_bytes_, kMaxRecordPayloadBytes - payload_bytes);
      record_[used++] = {static_cast<std::byte*>(part.iov_base) + skip_bytes_, length};
      payload_bytes += length;
      skip_bytes_ += length;
      if (skip_bytes_ < part.iov_len) break;
      parts_ = parts_.subspan(1);
      skip_bytes_ = 0;
    }
    taken_bytes_ += payload_bytes;
    return std::span(record_).first(used);
  }
  [[nodiscard]] bool is_at_end() const { return parts_.empty(); }
  [[nodiscard]] std::size_t taken_bytes() const { return taken_bytes_; }

 private:
  static constexpr std::size_t kMaxParts = 128;  // of one record

  std::span<const iovec> parts_;
  std::size_t skip_bytes_ = 0;  // of the first of them
  std::size_t taken_bytes_ = 0;
  std::array<iovec, kMaxParts> record_{};
};

}  // namespace

Result<std::unique_ptr<RecordStream>> RecordStream::create(const RecordKeys& keys) {
  Result<RecordSealer> sealer = RecordSealer::create(keys.send);
  if (!sealer) return std::unexpected(sealer.error());
  Result<RecordOpener> opener = RecordOpener::create(keys.receive);
  if (!opener) return std::unexpected(opener.error());
  return std::unique_ptr<RecordStream>(new RecordStream(std::move(*sealer), std::move(*opener)));
}

RecordStream::RecordStream(RecordSealer sealer, RecordOpener opener)
    : sealer_(std::move(sealer)),
      out_(kMaxRecordBytes),
      opener_(std::move(opener)),
      in_(kMaxRecordBytes) {}

// ---- out ---------------------------------------------------------------------------------------

Result<std::size_t> RecordStream::seal(std::span<const iovec> parts) {
  if (has_unsent()) return fail(ErrorCode::kDisconnected, "the connection broke within a record");
  sealed_bytes_ = 0;
  sent_bytes_ = 0;
  RecordCutter cutter(parts);
  while (!cutter.is_at_end() && sealed_bytes_ + kMaxRecordBytes <= kMaxBufferBytes) {
    if (sealed_bytes_ + kMaxRecordBytes > out_.size()) out_.resize(kMaxBufferBytes);
    const Result<std::size_t> sealed =
        sealer_.seal(cutter.next(), std::span(out_).subspan(sealed_bytes_));
    if (!sealed) return sealed;
    sealed_bytes_ += *sealed;
  }
  return cutter.taken_bytes();
}

Result<std::size_t> RecordStream::seal(std::span<const std::byte> bytes) {
  // Sealing does not write to what it seals.
  const iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  return seal(std::span(&part, 1));
}

// ---- in ----------------------------------------------------------------------------------------

std::span<std::byte> RecordStream::room() {
  assert(payload_.empty());
  // What is left is less than one record.
  const std::size_t left_bytes = received_bytes_ - opened_bytes_;
  std::memmove(in_.data(), in_.data() + opened_bytes_, left_bytes);
  // A buffer that was filled to its end has a peer that sends much.
  if (received_bytes_ == in_.size() && in_.size() < kMaxBufferBytes) in_.resize(kMaxBufferBytes);
  opened_bytes_ = 0;
  received_bytes_ = left_bytes;
  return std::span(in_).subspan(received_bytes_);
}

void RecordStream::on_received(std::size_t received_bytes) {
  received_bytes_ += received_bytes;
  assert(received_bytes_ <= in_.size());
}

Result<std::span<const std::byte>> RecordStream::opened() {
  if (!payload_.empty()) return payload_;
  if (!broken_) return std::unexpected(broken_.error());
  const std::span<std::byte> rest =
      std::span(in_).subspan(opened_bytes_, received_bytes_ - opened_bytes_);
  const Result<std::size_t> record_bytes = RecordOpener::record_bytes(rest);
  if (record_bytes && (*record_bytes == 0 || *record_bytes > rest.size())) return payload_;
  Result<std::span<const std::byte>> payload =
      record_bytes ? opener_.open(rest.first(*record_bytes))
                   : Result<std::span<const std::byte>>(std::unexpected(record_bytes.error()));
  if (!payload) {
    broken_ = std::unexpected(payload.error());
    return payload;
  }
  opened_bytes_ += *record_bytes;
  payload_ = *payload;
  return payload_;
}

}  // namespace rram
