#include "rdma/wire/frame_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace rram {

void FrameReader::push(std::span<const std::byte> bytes) {
  // What was consumed is dropped here, once for all frames that one receive brought.
  buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(at_));
  at_ = 0;
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

Result<std::optional<FrameReader::Frame>> FrameReader::next(FrameSet allowed,
                                                            std::string_view state) {
  const std::span<const std::byte> rest = std::span(buffer_).subspan(at_);
  if (rest.size() < sizeof(FrameHeader)) {
    return std::nullopt;
  }
  const auto header = decode_frame_header(rest.first(sizeof(FrameHeader)));
  if (!header) {
    return std::unexpected(header.error());
  }
  if (Status status = check_frame_allowed(*header, allowed, state); !status) {
    return std::unexpected(status.error());
  }
  const auto after_header = rest.subspan(sizeof(FrameHeader));
  if (after_header.size() < header->body_bytes) {
    return std::nullopt;
  }
  const auto body = after_header.first(header->body_bytes);
  Frame frame{*header, {body.begin(), body.end()}};
  at_ += sizeof(FrameHeader) + header->body_bytes;
  return std::optional<Frame>(std::move(frame));
}

std::size_t FrameReader::missing_bytes() const {
  const std::size_t have = buffered_bytes();
  if (have < sizeof(FrameHeader)) {
    return sizeof(FrameHeader) - have;
  }
  FrameHeader header;
  std::memcpy(&header, buffer_.data() + at_, sizeof header);
  const std::size_t need = sizeof header + header.body_bytes;
  // A whole frame that was not taken yet: one byte keeps a careless caller moving.
  return need > have ? need - have : 1;
}

}  // namespace rram
