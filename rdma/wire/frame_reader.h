// A byte stream cut into frames, for control connections and for the handshake of data connections.
// Owned by whoever reads the stream; not thread-safe. A lane's data does not pass through here: it
// goes straight to its place.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "rdma/wire/codec.h"
#include "rdma/wire/frames.h"

namespace rram {

class FrameReader {
 public:
  struct Frame {
    FrameHeader header;
    std::vector<std::byte> body;
  };

  // Adds bytes in the order in which they came.
  void push(std::span<const std::byte> bytes);

  // The next whole frame, or nullopt if its bytes have not all come. A header is checked as soon as
  // it is there: a frame that is not in `allowed` is an error before its body has come. `state` is
  // for the reason. Errors: kProtocol; the stream is of no use afterwards.
  Result<std::optional<Frame>> next(FrameSet allowed, std::string_view state);

  // Bytes that came and are not part of a frame that next() returned.
  [[nodiscard]] std::size_t buffered_bytes() const { return buffer_.size() - at_; }

  // How many more bytes the next frame needs at least: a receiver that asks for no more than this
  // never reads into what follows it. At least 1.
  [[nodiscard]] std::size_t missing_bytes() const;

 private:
  std::vector<std::byte> buffer_;
  std::size_t at_ = 0;  // start of the next frame in buffer_
};

}  // namespace rram
