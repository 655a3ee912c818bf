#include "rdma/wire/codec.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "rdma/wire/frame_reader.h"
#include "rdma/wire/text.h"
#include "tests/unit/wire/session_helpers.h"

namespace rram::test {
namespace {

std::span<const std::byte> body_of(const FrameBytes& frame) {
  return std::span(frame).subspan(sizeof(FrameHeader));
}

template <typename T>
void expect_reason(const Result<T>& result, std::string_view part) {
  ASSERT_FALSE(result.has_value()) << part;
  EXPECT_EQ(result.error().code, ErrorCode::kProtocol);
  EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
}

// Encodes `good` after `spoil` and expects the decoder to refuse it with `part` in the reason.
template <typename T>
void expect_refused(T value, const std::type_identity_t<std::function<void(T&)>>& spoil,
                    Result<T> (*decode)(std::span<const std::byte>), std::string_view part) {
  spoil(value);
  expect_reason(decode(bytes_of(value)), part);
}

TEST(Codec, bytes_on_the_wire_are_those_of_the_document) {
  const FrameBytes frame = encode(0x0102030405060708, RegionFds{0x11223344, 5});
  const unsigned char expected[] = {8, 0, 0, 0, 8,    0,    0,    0,    8, 7, 6, 5,
                                    4, 3, 2, 1, 0x44, 0x33, 0x22, 0x11, 5, 0, 0, 0};
  ASSERT_EQ(frame.size(), sizeof expected);
  EXPECT_EQ(std::memcmp(frame.data(), expected, sizeof expected), 0);

  const FrameBytes hello = encode(1, make_hello());
  EXPECT_EQ(hello.size(), 104U);
  EXPECT_EQ(std::memcmp(hello.data() + 16, "RRAM\x01\0\x01\0", 8), 0);
}

TEST(Codec, fixed_frames_survive_the_way) {
  EXPECT_EQ(name_view(decode_hello(body_of(encode(1, make_hello())))->name), "host-a:/mnt/r");
  EXPECT_EQ(decode_hello_reply(body_of(encode(1, make_hello_reply())))->incarnation, kIncarnation);
  EXPECT_EQ(decode_lease_request(body_of(encode(1, LeaseRequest{77, 1, 0})))->wanted_bytes, 77U);
  EXPECT_EQ(decode_lease_grant(body_of(encode(1, make_grant())))->token, kToken);
  EXPECT_EQ(decode_lease_wait(body_of(encode(1, LeaseWait{5, 250, 0})))->retry_ms, 250U);
  EXPECT_EQ(decode_region_fds(body_of(encode(1, RegionFds{64, 64})))->first_index, 64U);
  EXPECT_EQ(decode_attach(body_of(encode(1, Attach{kLeaseId, kToken, 0})))->lease_id, kLeaseId);
  EXPECT_EQ(decode_attached(body_of(encode(1, make_attached())))->region_count, 3U);
  StatsReply stats{};
  stats.uptime_ms = 12;
  EXPECT_EQ(decode_stats_reply(body_of(encode(1, stats)))->uptime_ms, 12U);
}

TEST(Codec, every_decoder_refuses_every_other_length) {
  const auto refuses = [](auto decode, std::size_t size) {
    for (std::size_t bytes = 0; bytes <= 2 * size; ++bytes) {
      if (bytes != size) {
        const std::vector<std::byte> body(bytes);
        EXPECT_FALSE(decode(body).has_value()) << bytes << " instead of " << size;
      }
    }
  };
  refuses(decode_hello, 88);
  refuses(decode_hello_reply, 120);
  refuses(decode_lease_request, 16);
  refuses(decode_lease_grant, 64);
  refuses(decode_lease_wait, 16);
  refuses(decode_regions, 32);
  refuses(decode_region_fds, 8);
  refuses(decode_attach, 32);
  refuses(decode_attached, 32);
  refuses(decode_stats_reply, 104);
  refuses(decode_data_request, 32);
  refuses(decode_frame_header, 16);
}

TEST(Codec, hello_names_the_field_that_is_wrong) {
  const auto refused = [](const std::function<void(Hello&)>& spoil, std::string_view part) {
    expect_refused(make_hello(), spoil, decode_hello, part);
  };
  refused([](Hello& h) { h.magic = 0x20544547; }, "HELLO magic is 0x20544547");
  refused([](Hello& h) { h.version_min = 0; }, "HELLO has versions 0 to 1");
  refused([](Hello& h) { h.version_min = 3; }, "HELLO has versions 3 to 1");
  refused([](Hello& h) { h.role = static_cast<Role>(3); }, "HELLO role is 3");
  refused([](Hello& h) { h.reserved = 9; }, "HELLO reserved is 9");
  refused([](Hello& h) { h.name = {}; }, "HELLO name is empty");
  refused([](Hello& h) { h.name.fill('x'); }, "HELLO name has no NUL");
  refused([](Hello& h) { h.name[60] = 'x'; }, "HELLO name has bytes after its NUL");
  refused([](Hello& h) { h.name[1] = '\n'; }, "HELLO name has byte 0x0a at 1");
}

TEST(Codec, hello_ignores_unknown_features) {
  Hello hello = make_hello();
  hello.features = ~0ULL;
  EXPECT_TRUE(decode_hello(bytes_of(hello)).has_value());
}

TEST(Codec, hello_reply_names_the_field_that_is_wrong) {
  const auto refused = [](const std::function<void(HelloReply&)>& spoil, std::string_view part) {
    expect_refused(make_hello_reply(), spoil, decode_hello_reply, part);
  };
  refused([](HelloReply& h) { h.magic = 1; }, "HELLO_REPLY magic is 0x00000001");
  refused([](HelloReply& h) { h.version = 2; }, "HELLO_REPLY version is 2, not 1 to 1");
  refused([](HelloReply& h) { h.auth_required = 2; }, "auth_required is 2");
  refused([](HelloReply& h) { h.incarnation = {}; }, "incarnation is all zero");
  refused([](HelloReply& h) { h.free_bytes = h.pool_bytes + 1; }, "free_bytes");
  refused([](HelloReply& h) { h.pool_bytes = kMaxPoolBytes + 1; }, "pool_bytes");
  refused([](HelloReply& h) { h.segment_bytes = 3 << 20; }, "segment_bytes is 3145728");
  refused([](HelloReply& h) { h.segment_bytes = 0; }, "segment_bytes is 0");
  refused([](HelloReply& h) { h.name[0] = '\x1b'; }, "HELLO_REPLY name has byte 0x1b");
}

TEST(Codec, lease_frames_name_the_field_that_is_wrong) {
  const auto request = [](const std::function<void(LeaseRequest&)>& spoil, std::string_view part) {
    expect_refused(LeaseRequest{}, spoil, decode_lease_request, part);
  };
  request([](LeaseRequest& r) { r.wanted_bytes = kMaxPoolBytes + 1; }, "wanted_bytes");
  request([](LeaseRequest& r) { r.flags = 6; }, "unknown flags 0x6");
  request([](LeaseRequest& r) { r.reserved = 1; }, "reserved is 1");

  const auto grant = [](const std::function<void(LeaseGrant&)>& spoil, std::string_view part) {
    expect_refused(make_grant(), spoil, decode_lease_grant, part);
  };
  grant([](LeaseGrant& g) { g.lease_id = {}; }, "lease_id is all zero");
  grant([](LeaseGrant& g) { g.bytes += 1; }, "LEASE_GRANT bytes is 6291457");
  grant([](LeaseGrant& g) { g.region_bytes += 1; }, "region_bytes is 2097153");
  grant([](LeaseGrant& g) { g.region_bytes = 2048; }, "region_bytes is 2048");
  grant([](LeaseGrant& g) { g.region_count = 0; }, "region_count is 0");
  grant([](LeaseGrant& g) { g.region_count = kMaxRegionsPerLease + 1; }, "region_count is 65537");
  grant([](LeaseGrant& g) { g.heartbeat_interval_ms = 0; }, "heartbeat_interval_ms is 0");
  grant([](LeaseGrant& g) { g.heartbeat_interval_ms = 60'001; }, "heartbeat_interval_ms is 60001");
  grant([](LeaseGrant& g) { g.grace_ms = 999; }, "grace_ms is 999");
  grant([](LeaseGrant& g) { g.grace_ms = kMaxGraceMs + 1; }, "grace_ms is 86400001");
  grant([](LeaseGrant& g) { g.flags = 2; }, "unknown flags 0x2");

  const auto wait = [](const std::function<void(LeaseWait&)>& spoil, std::string_view part) {
    expect_refused(LeaseWait{0, 100, 0}, spoil, decode_lease_wait, part);
  };
  wait([](LeaseWait& w) { w.retry_ms = 0; }, "retry_ms is 0");
  wait([](LeaseWait& w) { w.retry_ms = 60'001; }, "retry_ms is 60001");
  wait([](LeaseWait& w) { w.reclaiming_bytes = kMaxPoolBytes + 1; }, "reclaiming_bytes");
  wait([](LeaseWait& w) { w.reserved = 4; }, "reserved is 4");
}

TEST(Codec, attach_frames_name_the_field_that_is_wrong) {
  expect_refused(
      Attach{kLeaseId, kToken, 0}, [](Attach& a) { a.lease_id = {}; }, decode_attach,
      "lease_id is all zero");
  const auto attached = [](const std::function<void(Attached&)>& spoil, std::string_view part) {
    expect_refused(make_attached(), spoil, decode_attached, part);
  };
  attached([](Attached& a) { a.bytes = 1; }, "ATTACHED bytes is 1");
  attached([](Attached& a) { a.region_count = 0; }, "ATTACHED region_count is 0");
  attached([](Attached& a) { a.flags = 2; }, "ATTACHED flags is 0x2");
  expect_refused(
      StatsReply{}, [](StatsReply& s) { s.pool_bytes = ~0ULL; }, decode_stats_reply, "pool_bytes");
}

TEST(Codec, regions_survive_the_way) {
  std::vector<RegionEntry> regions = make_regions(kMaxRegionsPerFrame);
  regions[7].base = 0xFFFF000000000000;
  regions[7].key = 42;
  const auto decoded = decode_regions(body_of(encode_regions(5, 100, regions)));
  ASSERT_TRUE(decoded.has_value()) << decoded.error().message;
  EXPECT_EQ(decoded->first_index, 100U);
  ASSERT_EQ(decoded->regions.size(), kMaxRegionsPerFrame);
  EXPECT_EQ(decoded->regions[7].base, 0xFFFF000000000000);
  EXPECT_EQ(decoded->regions[7].key, 42U);
}

TEST(Codec, regions_name_what_is_wrong) {
  const auto decode = [](std::uint32_t first, std::uint32_t count, const RegionEntry& entry) {
    const RegionsHead head{first, count};
    std::vector<std::byte> body(32);
    std::memcpy(body.data(), &head, 8);
    std::memcpy(body.data() + 8, &entry, 24);
    return decode_regions(body);
  };
  const RegionEntry good{0, kSegmentBytes, 0};
  EXPECT_TRUE(decode(0, 1, good).has_value());
  expect_reason(decode(0, 0, good), "count is 0");
  expect_reason(decode(0, 2, good), "count is 2, but 24 bytes follow");
  expect_reason(decode(0, 0xFFFFFFFF, good), "count is 4294967295");
  expect_reason(decode(kMaxRegionsPerLease, 1, good), "from index 65536");
  expect_reason(decode(0xFFFFFFFF, 1, good), "from index 4294967295");
  expect_reason(decode(0, 1, {0, 5, 0}), "length is 5");
  expect_reason(decode(0, 1, {~0ULL, kSegmentBytes, 0}), "wrap");
  expect_reason(decode_region_fds(bytes_of(RegionFds{0, 65})), "count is 65");
  expect_reason(decode_region_fds(bytes_of(RegionFds{0, 0})), "count is 0");
  expect_reason(decode_region_fds(bytes_of(RegionFds{65535, 2})), "from index 65535");
}

TEST(Codec, error_text_is_made_printable_and_short) {
  const std::string text = "bad\nline \x1b[31m " + std::string(600, 'x');
  const auto error = decode_error(body_of(encode_error(WireError::kNoSpace, text)));
  ASSERT_TRUE(error.has_value()) << error.error().message;
  EXPECT_EQ(error->code, WireError::kNoSpace);
  EXPECT_EQ(error->text.substr(0, 16), "bad?line ?[31m x");
  EXPECT_EQ(error->text.size(), kMaxErrorTextBytes);
}

TEST(Codec, error_frames_from_a_peer_are_checked) {
  FrameBytes frame = encode_error(WireError::kRefused, "abc");
  std::vector<std::byte> body(body_of(frame).begin(), body_of(frame).end());
  body[0] = std::byte{200};
  EXPECT_EQ(decode_error(body)->code, WireError::kInternal);
  EXPECT_EQ(decode_error(body)->text, "abc");
  body[8] = std::byte{0x07};
  expect_reason(decode_error(body), "ERROR text has byte 0x07 at 0");
  body[4] = std::byte{2};
  expect_reason(decode_error(body), "text_bytes is 2 (at most 512), but 3 bytes follow");
  expect_reason(decode_error({}), "body of 0 bytes");
}

TEST(Codec, headers_name_what_is_wrong) {
  const auto decode = [](const FrameHeader& header) {
    return decode_frame_header(bytes_of(header));
  };
  EXPECT_TRUE(decode({0, FrameType::kHeartbeat, 0, 1}).has_value());
  expect_reason(decode({0, static_cast<FrameType>(0), 0, 1}), "unknown frame type 0");
  expect_reason(decode({0, static_cast<FrameType>(0xFFFF), 0, 1}), "unknown frame type 65535");
  expect_reason(decode({0, FrameType::kHeartbeat, 1, 1}), "HEARTBEAT has flags 0x1");
  expect_reason(decode({1, FrameType::kHeartbeat, 0, 1}), "HEARTBEAT has body_bytes 1, not 0 to 0");
  expect_reason(decode({87, FrameType::kHello, 0, 1}), "HELLO has body_bytes 87, not 88 to 88");
  expect_reason(decode({0, FrameType::kAuth, 0, 1}), "AUTH has body_bytes 0");
  expect_reason(decode({521, FrameType::kError, 0, 1}), "ERROR has body_bytes 521");
  expect_reason(decode({kMaxDataBytes + 1, FrameType::kReadReply, 0, 1}), "READ_REPLY");
  expect_reason(decode({0xFFFFFFFF, FrameType::kWrite, 0, 1}), "WRITE has body_bytes 4294967295");
}

TEST(Codec, allowed_types_are_exactly_those_of_the_set) {
  const FrameSet set(FrameType::kHello, FrameType::kWriteReply);
  for (FrameType type : kAllTypes) {
    EXPECT_EQ(set.contains(type), type == FrameType::kHello || type == FrameType::kWriteReply);
  }
  EXPECT_FALSE(set.contains(static_cast<FrameType>(64 + 1)));
  EXPECT_FALSE(FrameSet().contains(FrameType::kHello));
  EXPECT_EQ(check_frame_allowed({0, FrameType::kRead, 0, 1}, set, "HELLO").error().message,
            "READ is not allowed in state HELLO");
}

TEST(Codec, version_is_the_highest_that_both_speak) {
  Hello hello = make_hello();
  hello.version_max = 9;
  EXPECT_EQ(choose_version(hello), kWireVersionMax);
  hello.version_min = 7;
  const auto none = choose_version(hello);
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().code, ErrorCode::kRefused);
  EXPECT_NE(none.error().message.find("requester speaks 7 to 9, this provider 1 to 1"),
            std::string::npos);
}

TEST(Codec, data_requests_survive_the_way) {
  const DataRequest read = make_read(3, 1, 4096, 100);
  EXPECT_EQ(read.header.body_bytes, 16U);
  EXPECT_EQ(decode_data_request(bytes_of(read))->offset, 4096U);
  const DataRequest write = make_write(4, 2, 0, kMaxDataBytes);
  EXPECT_EQ(write.header.body_bytes, 16U + kMaxDataBytes);
  EXPECT_EQ(decode_data_request(bytes_of(write))->region, 2U);
}

TEST(Codec, data_requests_name_what_is_wrong) {
  const auto decode = [](DataRequest request, auto spoil) {
    spoil(request);
    return decode_data_request(bytes_of(request));
  };
  const DataRequest read = make_read(3, 1, 4096, 100);
  const DataRequest write = make_write(3, 1, 4096, 100);
  expect_reason(decode(read, [](DataRequest& r) { r.length = 0; }), "READ length is 0");
  expect_reason(decode(read, [](DataRequest& r) { r.length = kMaxDataBytes + 1; }),
                "READ length is 4194305");
  expect_reason(decode(write, [](DataRequest& r) { r.length = 99; }),
                "WRITE of length 99 has body_bytes 116");
  expect_reason(decode(read, [](DataRequest& r) { r.header = {0, FrameType::kHeartbeat, 0, 1}; }),
                "HEARTBEAT is no data request");
  expect_reason(decode(read, [](DataRequest& r) { r.header.flags = 1; }), "READ has flags");
}

TEST(Codec, data_range_is_inside_the_region_or_refused) {
  const RegionLimits limits{2, kSegmentBytes};
  const auto last = static_cast<std::uint32_t>(kSegmentBytes);
  EXPECT_TRUE(check_data_range(make_read(1, 1, 0, last), limits).has_value());
  EXPECT_TRUE(check_data_range(make_read(1, 1, kSegmentBytes - 1, 1), limits).has_value());
  EXPECT_FALSE(check_data_range(make_read(1, 2, 0, 1), limits).has_value());
  EXPECT_FALSE(check_data_range(make_read(1, 1, kSegmentBytes, 1), limits).has_value());
  EXPECT_FALSE(check_data_range(make_read(1, 1, ~0ULL, 4096), limits).has_value());
  EXPECT_EQ(check_data_range(make_write(1, 1, 1, last), limits).error().code,
            ErrorCode::kInvalidArgument);
}

TEST(Codec, data_reply_fits_its_request_or_is_refused) {
  const DataRequest read = make_read(3, 1, 4096, 100);
  const DataRequest write = make_write(4, 1, 4096, 100);
  EXPECT_TRUE(check_data_reply(make_read_reply(3, 100), read).has_value());
  EXPECT_TRUE(check_data_reply(make_write_reply(4), write).has_value());
  expect_reason(check_data_reply(make_write_reply(3), read), "READ is answered by WRITE_REPLY");
  expect_reason(check_data_reply(make_read_reply(9, 100), read), "has tag 9");
  expect_reason(check_data_reply(make_read_reply(3, 99), read), "body_bytes 99");
}

TEST(Codec, every_wire_error_has_a_name_and_a_meaning) {
  for (std::uint32_t code = 1; code <= 13; ++code) {
    EXPECT_EQ(wire_error_name(static_cast<WireError>(code)).find("code"), std::string::npos);
  }
  EXPECT_EQ(wire_error_name(static_cast<WireError>(99)), "code 99");
  EXPECT_EQ(error_code_of(static_cast<WireError>(99)), ErrorCode::kIo);
  EXPECT_EQ(error_code_of(WireError::kNoLease), ErrorCode::kLost);
  for (FrameType type : kAllTypes) {
    EXPECT_EQ(frame_type_name(type).find("type"), std::string::npos);
  }
  EXPECT_EQ(id_text({0x0a, 0xff}), "0aff0000000000000000000000000000");
}

TEST(Text, only_printable_utf8_passes) {
  EXPECT_TRUE(check_printable("Zürich 湖 🛶", "x").has_value());
  EXPECT_TRUE(check_printable("", "x").has_value());
  for (std::string_view bad :
       {std::string_view("a\0b", 3), std::string_view("\x7f"), std::string_view("\xc3"),
        std::string_view("\xc0\xaf"), std::string_view("\xed\xa0\x80"), std::string_view("\xff"),
        std::string_view("\xc2\x85"), std::string_view("\xe2\x80\xae"),
        std::string_view("\xe2\x80\xa8"), std::string_view("\xf4\x90\x80\x80")}) {
    EXPECT_FALSE(check_printable(bad, "x").has_value());
    EXPECT_TRUE(check_printable(printable(bad, 100), "x").has_value());
  }
}

TEST(Text, names_are_cut_at_a_character) {
  EXPECT_EQ(name_view(make_name("")), "?");
  EXPECT_EQ(name_view(make_name(std::string(80, 'n'))).size(), 63U);
  EXPECT_EQ(name_view(make_name(std::string(62, 'n') + "ü")).size(), 62U);
  EXPECT_TRUE(check_name(make_name(std::string(62, 'n') + "ü\n"), "x").has_value());
}

TEST(FrameReader, frames_come_out_however_the_bytes_come_in) {
  FrameBytes stream = encode(1, make_hello());
  const FrameBytes second = encode_empty(FrameType::kHeartbeat, 2);
  stream.insert(stream.end(), second.begin(), second.end());
  const FrameSet allowed(FrameType::kHello, FrameType::kHeartbeat);
  for (std::size_t step = 1; step <= stream.size(); ++step) {
    FrameReader reader;
    std::vector<FrameType> seen;
    for (std::size_t at = 0; at < stream.size(); at += step) {
      reader.push(std::span(stream).subspan(at, std::min(step, stream.size() - at)));
      while (auto frame = reader.next(allowed, "X").value()) {
        seen.push_back(frame->header.type);
      }
    }
    EXPECT_EQ(seen, (std::vector{FrameType::kHello, FrameType::kHeartbeat})) << step;
    EXPECT_EQ(reader.buffered_bytes(), 0U);
  }
}

TEST(FrameReader, asks_for_no_byte_of_what_follows) {
  const FrameBytes hello = encode(1, make_hello());
  FrameReader reader;
  EXPECT_EQ(reader.missing_bytes(), 16U);
  reader.push(std::span(hello).first(10));
  EXPECT_EQ(reader.missing_bytes(), 6U);
  reader.push(std::span(hello).subspan(10, 6));
  EXPECT_EQ(reader.missing_bytes(), 88U);
  reader.push(std::span(hello).subspan(16, 87));
  EXPECT_EQ(reader.missing_bytes(), 1U);
}

TEST(FrameReader, a_frame_out_of_place_is_refused_before_its_body) {
  const FrameBytes grant = encode(1, make_grant());
  FrameReader reader;
  reader.push(std::span(grant).first(16));
  expect_reason(reader.next(FrameSet(FrameType::kHello), "HELLO"),
                "LEASE_GRANT is not allowed in state HELLO");
  FrameReader other;
  const std::string http = "GET / HTTP/1.1\r\n";
  other.push(std::as_bytes(std::span(http)));
  EXPECT_FALSE(other.next(FrameSet(FrameType::kHello), "HELLO").has_value());
}

}  // namespace
}  // namespace rram::test
