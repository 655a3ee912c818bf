// Every decoder of rdma/wire/codec.h. First byte: which; the rest: the body. What a decoder accepts
// must encode to the same bytes again.
#include <algorithm>
#include <cstring>

#include "rdma/wire/codec.h"
#include "rdma/wire/frame_reader.h"
#include "rdma/wire/text.h"
#include "tests/fuzz/fuzz_input.h"

namespace rram::fuzz {
namespace {

template <WireStruct T>
void check_fixed(Result<T> (*decode)(std::span<const std::byte>), std::span<const std::byte> body) {
  const auto decoded = decode(body);
  if (!decoded) {
    require(!decoded.error().message.empty());
    return;
  }
  require(std::ranges::equal(bytes_of(*decoded), body));
}

void check_regions(std::span<const std::byte> body) {
  if (const auto decoded = decode_regions(body)) {
    const FrameBytes again = encode_regions(0, decoded->first_index, decoded->regions);
    require(std::ranges::equal(std::span(again).subspan(sizeof(FrameHeader)), body));
  }
}

void check_error(std::span<const std::byte> body) {
  if (const auto decoded = decode_error(body)) {
    require(check_printable(decoded->text, "text").has_value());
    const FrameBytes again = encode_error(decoded->code, decoded->text);
    // The code may have been an unknown one.
    require(std::ranges::equal(std::span(again).subspan(sizeof(FrameHeader) + 4), body.subspan(4)));
  }
}

void check_data(std::span<const std::byte> bytes) {
  const RegionLimits limits{3, 2U << 20};
  const auto request = decode_data_request(bytes);
  if (!request || !check_data_range(*request, limits)) {
    return;
  }
  require(request->region < limits.region_count && request->length <= kMaxDataBytes);
  require(request->offset < limits.region_bytes);
  require(request->offset + request->length <= limits.region_bytes);
}

void check_printing(std::span<const std::byte> bytes) {
  std::string text(bytes.size(), '\0');
  std::ranges::copy(bytes, std::as_writable_bytes(std::span(text)).begin());
  const std::string clean = printable(text, kMaxErrorTextBytes);
  require(clean.size() <= kMaxErrorTextBytes && check_printable(clean, "text").has_value());
  require(check_name(make_name(text), "name").has_value());
  if (check_printable(text, "text") && text.size() <= kMaxErrorTextBytes) {
    require(clean == text);
  }
}

// A stream in pieces: the first byte is the size of a piece.
void check_stream(std::span<const std::byte> bytes) {
  if (bytes.empty()) {
    return;
  }
  const std::size_t piece = static_cast<std::size_t>(bytes[0]) + 1;
  const FrameSet allowed(FrameType::kHello, FrameType::kAuth, FrameType::kRegions,
                         FrameType::kHeartbeat, FrameType::kError);
  FrameReader reader;
  for (bytes = bytes.subspan(1); !bytes.empty();) {
    const auto part = bytes.first(std::min(piece, bytes.size()));
    bytes = bytes.subspan(part.size());
    reader.push(part);
    for (;;) {
      require(reader.missing_bytes() >= 1);
      const auto frame = reader.next(allowed, "FUZZ");
      if (!frame) {
        return;
      }
      if (!frame->has_value()) {
        break;
      }
      require((*frame)->body.size() == (*frame)->header.body_bytes);
    }
  }
}

void run(std::uint8_t which, std::span<const std::byte> body) {
  switch (which % 16) {
    case 0:
      return check_fixed(decode_frame_header, body);
    case 1:
      return check_fixed(decode_hello, body);
    case 2:
      return check_fixed(decode_hello_reply, body);
    case 3:
      return check_fixed(decode_lease_request, body);
    case 4:
      return check_fixed(decode_lease_grant, body);
    case 5:
      return check_fixed(decode_lease_wait, body);
    case 6:
      return check_regions(body);
    case 7:
      return check_fixed(decode_region_fds, body);
    case 8:
      return check_fixed(decode_attach, body);
    case 9:
      return check_fixed(decode_attached, body);
    case 10:
      return check_fixed(decode_stats_reply, body);
    case 11:
      return check_error(body);
    case 12:
      return check_fixed(decode_data_request, body);
    case 13:
      return check_data(body);
    case 14:
      return check_printing(body);
    default:
      return check_stream(body);
  }
}

}  // namespace
}  // namespace rram::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  rram::fuzz::Input input(data, size);
  const std::uint8_t which = input.byte();
  rram::fuzz::run(which, input.bytes(size));
  return 0;
}
