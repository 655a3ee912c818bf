// What comes from the network where records are expected. First byte: the size of a piece, and by
// its lowest bit, whether a true record begins the stream. Nothing opens but what was sealed, in
// its order, whatever is put around it or changed in it.
#include <algorithm>
#include <array>
#include <vector>

#include "rdma/record/record_stream.h"
#include "tests/fuzz/fuzz_input.h"

namespace rram::fuzz {
namespace {

RecordKeys make_keys(std::uint8_t send, std::uint8_t receive) {
  RecordKeys keys;
  keys.send.key.fill(std::byte{send});
  keys.receive.key.fill(std::byte{receive});
  return keys;
}

// What the peer has sealed: one record of 20 bytes.
constexpr std::size_t kPayloadBytes = 20;
std::vector<std::byte> true_record() {
  const auto peer = RecordStream::create(make_keys(1, 2)).value();
  const std::array<std::byte, kPayloadBytes> payload{};
  require(peer->seal(payload).value() == kPayloadBytes);
  return {peer->unsent().begin(), peer->unsent().end()};
}

// How many bytes came out.
std::size_t open_all(std::span<const std::byte> wire, std::size_t piece) {
  const auto stream = RecordStream::create(make_keys(2, 1)).value();
  std::size_t opened_bytes = 0;
  while (!wire.empty()) {
    const std::span<std::byte> room = stream->room();
    require(!room.empty());
    const auto part = wire.first(std::min({piece, room.size(), wire.size()}));
    std::ranges::copy(part, room.begin());
    stream->on_received(part.size());
    wire = wire.subspan(part.size());
    for (;;) {
      const auto opened = stream->opened();
      if (!opened) {
        require(!opened.error().message.empty());
        return opened_bytes;
      }
      if (opened->empty()) break;
      opened_bytes += opened->size();
      stream->consume(opened->size());
    }
  }
  return opened_bytes;
}

}  // namespace
}  // namespace rram::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rram::fuzz;
  Input input(data, size);
  const std::uint8_t first = input.byte();
  std::vector<std::byte> wire;
  const bool begins_true = (first & 1U) != 0;
  if (begins_true) wire = true_record();
  while (!input.empty()) wire.push_back(std::byte{input.byte()});
  const std::size_t opened_bytes = open_all(wire, std::size_t{1} + first);
  require(opened_bytes == (begins_true ? kPayloadBytes : 0));
  return 0;
}
