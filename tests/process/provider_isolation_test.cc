// What requesters find of each other's data: nothing, however the one before ended and whatever the
// one beside it sends.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/mapping.h"
#include "tests/process/provider_fixture.h"
#include "tests/unit/wire/session_helpers.h"

namespace rram::test {
namespace {

constexpr std::byte kCanary{0xC5};
constexpr std::uint64_t kRegionBytes = std::uint64_t{2} << 20;

bool is_all(std::span<const std::byte> bytes, std::byte value) {
  return std::ranges::all_of(bytes, [value](std::byte byte) { return byte == value; });
}

bool has_part(std::span<const std::byte> bytes, std::span<const std::byte> part) {
  return !std::ranges::search(bytes, part).empty();
}

// ---- one after the other -----------------------------------------------------------------------

enum class Way : std::uint8_t { kTcp, kUnix, kShm };
enum class Ending : std::uint8_t {
  kRelease,   // as at an unmount
  kClose,     // of all connections
  kMidWrite,  // the same, with half of a WRITE sent
  kReset,     // of all connections, in the middle of a WRITE
  kSilence,   // until the provider has had enough
  kKill,      // of the requester's process
};

std::string name_of(const testing::TestParamInfo<std::tuple<Way, Ending>>& info) {
  constexpr std::array<const char*, 3> kWays = {"tcp", "unix", "shm"};
  constexpr std::array<const char*, 6> kEndings = {"release", "close",   "mid_write",
                                                   "reset",   "silence", "kill"};
  return fmt::format("{}_{}", kWays.at(static_cast<std::size_t>(std::get<0>(info.param))),
                     kEndings.at(static_cast<std::size_t>(std::get<1>(info.param))));
}

class CanaryTest : public ProviderFixture,
                   public testing::WithParamInterface<std::tuple<Way, Ending>> {
 protected:
  // A requester that has filled the whole pool with canaries.
  struct Filler {
    Holder holder;
    std::unique_ptr<RawRequester> lane;
    std::vector<Mapping> memory;  // by shm
  };
  [[nodiscard]] Filler fill_all() const {
    const Way way = std::get<0>(GetParam());
    const Endpoint provider = way == Way::kTcp ? tcp() : unix_socket();
    Filler filler;
    filler.holder = hold(provider, 0, way == Way::kShm);
    filler.lane = open_lane(provider, filler.holder);
    if (way == Way::kShm) {
      filler.memory = map(filler.holder);
      overwrite(filler.memory);
    } else {
      const std::vector<std::byte> canaries(kRegionBytes, kCanary);
      for (std::uint32_t region = 0; region < filler.holder.lease.grant.region_count; ++region) {
        EXPECT_TRUE(filler.lane->write(region, 0, canaries));
      }
    }
    return filler;
  }
  static std::vector<Mapping> map(const Holder& holder) {
    std::vector<Mapping> memory;
    for (const UniqueFd& fd : holder.lease.descriptors) {
      Result<Mapping> mapping = Mapping::shared(fd.get(), kRegionBytes);
      EXPECT_TRUE(mapping);
      if (mapping) memory.push_back(std::move(*mapping));
    }
    return memory;
  }
  static void overwrite(const std::vector<Mapping>& memory) {
    for (const Mapping& mapping : memory) std::ranges::fill(mapping.bytes(), kCanary);
  }

  // Leaves a half-sent WRITE of canaries behind.
  static void begin_write(RawRequester& lane) {
    lane.send(bytes_of(make_write(1, 0, 0, static_cast<std::uint32_t>(kRegionBytes))));
    lane.send(std::vector<std::byte>(kRegionBytes / 2, kCanary));
  }
  static void reset(RawRequester& connection) {
    const linger drop{1, 0};
    ::setsockopt(connection.fd(), SOL_SOCKET, SO_LINGER, &drop, sizeof drop);
    connection.close();
  }
  void end(Filler& filler, Ending ending) const {
    RawRequester& control = *filler.holder.control;
    if (ending == Ending::kMidWrite || ending == Ending::kReset) begin_write(*filler.lane);
    switch (ending) {
      case Ending::kRelease:
        control.send(encode_empty(FrameType::kRelease, 1));
        EXPECT_EQ(control.receive()->header.type, FrameType::kReleased);
        break;
      case Ending::kReset:
        reset(*filler.lane);
        reset(control);
        break;
      case Ending::kSilence:
        EXPECT_EQ(control.receive_error(), WireError::kTimedOut);
        break;
      default:
        filler.lane->close();
        control.close();
    }
  }

  // The whole life of the first requester in a process of its own, up to SIGKILL.
  void live_and_be_killed() const {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe(ends.data()), 0);
    const UniqueFd is_full(ends[0]);
    UniqueFd say_full(ends[1]);
    const pid_t child = ::fork();
    if (child == 0) {
      const Filler filler = fill_all();
      const bool is_well = !HasFailure();
      if (::write(say_full.get(), &is_well, 1) != 1) std::_Exit(1);
      for (;;) ::pause();
    }
    say_full.reset();
    bool is_well = false;
    EXPECT_EQ(::read(is_full.get(), &is_well, 1), 1);
    EXPECT_TRUE(is_well);
    EXPECT_EQ(server_->stats().leased_bytes, kPoolBytes);
    ::kill(child, SIGKILL);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  }

  // The next requester reads all it gets, over a lane and in the memory itself.
  void expect_no_canary() {
    {
      const Holder next = hold(tcp(), 0);
      ASSERT_EQ(next.lease.grant.bytes, kPoolBytes);
      const auto lane = open_lane(tcp(), next);
      for (std::uint32_t region = 0; region < next.lease.grant.region_count; ++region) {
        const auto bytes = lane->read(region, 0, kRegionBytes);
        ASSERT_TRUE(bytes);
        EXPECT_TRUE(is_zero(*bytes)) << "region " << region << " over TCP";
      }
    }
    ASSERT_TRUE(all_is_free_again());
    const Holder next = hold(unix_socket(), 0, true);
    ASSERT_EQ(next.lease.grant.bytes, kPoolBytes);
    const std::vector<Mapping> memory = map(next);
    for (const Mapping& mapping : memory) EXPECT_TRUE(is_zero(mapping.bytes()));
  }
};

TEST_P(CanaryTest, the_next_requester_finds_nothing) {
  const Ending ending = std::get<1>(GetParam());
  if (ending == Ending::kSilence) {
    options_.grace_ms = 50;  // so heartbeats are due every 50 ms, and 250 ms are silence
    options_.silent_grace_ms = 100;
  }
  start();
  if (ending == Ending::kKill) {
    live_and_be_killed();
  } else {
    Filler filler = fill_all();
    EXPECT_TRUE(is_all(*filler.lane->read(15, 0, kRegionBytes), kCanary));
    end(filler, ending);
    overwrite(filler.memory);  // goes on while the provider takes the memory back
    ASSERT_TRUE(all_is_free_again());
    overwrite(filler.memory);
    expect_no_canary();
    return;
  }
  ASSERT_TRUE(all_is_free_again());
  expect_no_canary();
}

INSTANTIATE_TEST_SUITE_P(Requesters, CanaryTest,
                         testing::Combine(testing::Values(Way::kTcp, Way::kUnix, Way::kShm),
                                          testing::Values(Ending::kRelease, Ending::kClose,
                                                          Ending::kMidWrite, Ending::kReset,
                                                          Ending::kSilence, Ending::kKill)),
                         name_of);

TEST_F(ProviderServerTest, nothing_of_a_lease_is_readable_in_the_next_one) {
  start();
  const std::vector<std::byte> canary(kMiB, kCanary);
  {
    Holder holder = hold(tcp(), 0);
    auto lane = open_lane(tcp(), holder);
    for (std::uint32_t region = 0; region < holder.lease.grant.region_count; ++region) {
      EXPECT_TRUE(lane->write(region, 0, canary));
      EXPECT_TRUE(lane->write(region, kMiB, canary));
    }
  }
  ASSERT_TRUE(all_is_free_again());
  Holder next = hold(unix_socket(), 0);
  auto lane = open_lane(unix_socket(), next);
  for (std::uint32_t region = 0; region < next.lease.grant.region_count; ++region) {
    const auto bytes = lane->read(region, 0, 2 * kMiB);
    ASSERT_TRUE(bytes);
    EXPECT_TRUE(is_zero(*bytes)) << region;
  }
}

TEST_F(ProviderServerTest, who_kept_descriptors_shares_nothing_with_the_next_lease) {
  start();
  std::vector<Mapping> kept;
  {
    Holder holder = hold(unix_socket(), 0, true);
    ASSERT_EQ(holder.lease.descriptors.size(), 16);
    for (const UniqueFd& fd : holder.lease.descriptors) {
      Result<Mapping> mapping = Mapping::shared(fd.get(), 2 * kMiB);
      ASSERT_TRUE(mapping);
      EXPECT_TRUE(is_zero(mapping->bytes()));
      std::ranges::fill(mapping->bytes(), kCanary);
      kept.push_back(std::move(*mapping));
    }
    const auto seen = open_lane(tcp(), holder)->read(3, 4096, 4096);
    EXPECT_EQ(seen, std::vector<std::byte>(4096, kCanary)) << "it is the pool itself";
  }
  ASSERT_TRUE(all_is_free_again());
  for (const Mapping& mapping : kept) EXPECT_TRUE(is_zero(mapping.bytes()));
  Holder next = hold(tcp(), 0);
  auto lane = open_lane(tcp(), next);
  for (std::uint32_t region = 0; region < 16; ++region) {
    EXPECT_TRUE(lane->write(region, 0, pattern(4096, region)));
  }
  for (const Mapping& mapping : kept) {
    EXPECT_TRUE(is_zero(mapping.bytes()));
    std::ranges::fill(mapping.bytes(), std::byte{0xEE});
  }
  for (std::uint32_t region = 0; region < 16; ++region) {
    EXPECT_EQ(lane->read(region, 0, 4096), pattern(4096, region));
    EXPECT_TRUE(is_zero(*lane->read(region, 4096, 2 * kMiB - 4096)));
  }
}

TEST_F(ProviderServerTest, descriptors_are_not_passed_over_tcp) {
  start();
  RawRequester requester(tcp());
  const auto reply = requester.hello(Role::kControl, kFeatureDescriptors);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->features, 0);
  requester.send(encode(2, LeaseRequest{0, kLeaseWantDescriptors, 0}));
  EXPECT_EQ(requester.receive_error(), WireError::kProtocol);
}

// ---- side by side ------------------------------------------------------------------------------

class NeighbourTest : public ProviderFixture {
 protected:
  void SetUp() override {
    options_.grace_ms = 2'000;
    start();
    neighbour_ = hold(tcp(), 2 * kRegionBytes);
    for (std::uint32_t region = 0; region < 2; ++region) {
      EXPECT_TRUE(lane_of_neighbour()->write(region, 0, secret(region)));
    }
    attacker_ = hold(unix_socket(), 2 * kRegionBytes, true);
    ASSERT_EQ(attacker_.lease.descriptors.size(), 2);
  }

  [[nodiscard]] static std::vector<std::byte> secret(std::uint32_t region) {
    return pattern(kRegionBytes, 77 + region);
  }
  [[nodiscard]] std::unique_ptr<RawRequester> lane_of_neighbour() const {
    return open_lane(tcp(), neighbour_, 1);
  }
  void keep_alive() const {
    for (const Holder* holder : {&neighbour_, &attacker_}) {
      holder->control->send(encode_empty(FrameType::kHeartbeat, 8));
      EXPECT_EQ(holder->control->receive()->header.type, FrameType::kHeartbeatReply);
    }
  }
  void expect_neighbour_unharmed() const {
    const auto lane = lane_of_neighbour();
    for (std::uint32_t region = 0; region < 2; ++region) {
      EXPECT_TRUE(lane->read(region, 0, kRegionBytes) == secret(region));
    }
    keep_alive();
  }
  // Neither the neighbour's data nor what opens it.
  void expect_nothing_of_neighbour(std::span<const std::byte> bytes) const {
    EXPECT_FALSE(has_part(bytes, std::as_bytes(std::span(neighbour_.lease.grant.token))));
    for (std::uint32_t region = 0; region < 2; ++region) {
      EXPECT_FALSE(has_part(bytes, std::span(secrets_.at(region)).first(16)));
      EXPECT_FALSE(has_part(bytes, std::span(secrets_.at(region)).last(16)));
    }
  }

  const std::array<std::vector<std::byte>, 2> secrets_ = {secret(0), secret(1)};
  Holder neighbour_;
  Holder attacker_;
};

// Numbers near which mistakes are made.
std::uint64_t tricky(std::mt19937_64& random) {
  constexpr std::array<std::uint64_t, 9> kCentres = {0,
                                                     1,
                                                     kRegionBytes,
                                                     2 * kRegionBytes,
                                                     UINT32_MAX,
                                                     INT64_MAX,
                                                     UINT64_MAX,
                                                     UINT64_MAX - kRegionBytes,
                                                     std::uint64_t{1} << 63};
  return kCentres.at(random() % kCentres.size()) + random() % 9 - 4;
}

DataRequest hostile_request(std::mt19937_64& random) {
  const bool is_write = random() % 2 == 0;
  DataRequest request = is_write ? make_write(1, 0, 0, 16) : make_read(1, 0, 0, 16);
  request.region = static_cast<std::uint32_t>(tricky(random));
  request.offset = tricky(random);
  request.length = static_cast<std::uint32_t>(random() % 2 == 0 ? tricky(random) : random() % 64);
  if (is_write) request.header.body_bytes = kDataRequestBodyBytes + request.length;
  return request;
}

TEST_F(NeighbourTest, requests_for_anything_reach_only_the_own_lease) {
  std::mt19937_64 random(4);
  const std::vector<std::byte> weapon(kMaxDataBytes, std::byte{0xAA});
  for (int i = 0; i < 400; ++i) {
    const auto lane = open_lane(i % 2 == 0 ? tcp() : unix_socket(), attacker_, 1 + random() % 3);
    const DataRequest request = hostile_request(random);
    lane->send(bytes_of(request));
    if (request.header.type == FrameType::kWrite) {
      lane->send(std::span(weapon).first(std::min<std::size_t>(request.length, weapon.size())));
    }
    lane->close_sending();
    expect_nothing_of_neighbour(lane->receive_rest());
    keep_alive();
  }
  EXPECT_GT(server_->stats().reads, 0) << "none was meant for the own lease";
  EXPECT_GT(server_->stats().protocol_errors, 100);
  expect_neighbour_unharmed();
}

// A frame that its decoder accepts, at times with a byte that is not, or with names of the
// neighbour.
FrameBytes hostile_frame(std::mt19937_64& random, const LeaseGrant& neighbour) {
  const FrameType type = kAllTypes[random() % std::size(kAllTypes)];
  if (type == FrameType::kAttach) {
    LeaseToken token = neighbour.token;
    token.at(random() % token.size()) ^= static_cast<std::uint8_t>(1 + random() % 255);
    return encode(random() % 4, Attach{neighbour.lease_id, token, random() % 2});
  }
  const FrameReader::Frame frame = valid_frame(type, random() % 4);
  FrameBytes bytes = encode_frame(type, frame.header.tag, frame.body);
  if (random() % 3 == 0) bytes.at(random() % bytes.size()) ^= static_cast<std::byte>(random());
  return bytes;
}

TEST_F(NeighbourTest, frames_in_any_order_open_nothing_and_harm_nobody) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 400; ++i) {
    RawRequester stranger(i % 2 == 0 ? tcp() : unix_socket());
    if (random() % 4 != 0) {
      stranger.hello(random() % 2 == 0 ? Role::kControl : Role::kData, kFeatureDescriptors);
    }
    for (std::uint64_t left = 1 + random() % 5; left > 0; --left) {
      stranger.send(hostile_frame(random, neighbour_.lease.grant));
    }
    stranger.close_sending();
    expect_nothing_of_neighbour(stranger.receive_rest());
    keep_alive();
  }
  expect_neighbour_unharmed();
}

TEST_F(NeighbourTest, descriptors_of_a_lease_are_of_its_size_for_ever) {
  for (const UniqueFd& fd : attacker_.lease.descriptors) {
    EXPECT_EQ(::ftruncate(fd.get(), 0), -1);
    EXPECT_EQ(::ftruncate(fd.get(), kRegionBytes - 4096), -1);
    EXPECT_EQ(::ftruncate(fd.get(), 2 * kRegionBytes), -1);
    EXPECT_EQ(::fallocate(fd.get(), 0, kRegionBytes, 4096), -1);
    EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE), -1);
    EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
    const char byte = 'x';
    EXPECT_EQ(::pwrite(fd.get(), &byte, 1, kRegionBytes), -1);
    const std::string path = fmt::format("/proc/self/fd/{}", fd.get());
    const UniqueFd again(::open(path.c_str(), O_RDWR | O_TRUNC | O_CLOEXEC));
    EXPECT_FALSE(again) << "opening it again must not cut it";
    EXPECT_EQ(::lseek(fd.get(), 0, SEEK_END), kRegionBytes);
  }
  auto lane = open_lane(tcp(), attacker_);
  EXPECT_TRUE(is_zero(*lane->read(0, 0, kRegionBytes)));
  expect_neighbour_unharmed();
}

TEST_F(NeighbourTest, holes_in_the_own_lease_harm_nobody) {
  auto lane = open_lane(tcp(), attacker_);
  const std::vector<std::byte> data = pattern(kRegionBytes, 9);
  for (int i = 0; i < 20; ++i) {
    lane->send(bytes_of(make_write(1, 0, 0, static_cast<std::uint32_t>(kRegionBytes))));
    lane->send(std::span(data).first(kRegionBytes / 2));
    constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    ASSERT_EQ(::fallocate(attacker_.lease.descriptors[0].get(), kPunch, 0, kRegionBytes), 0);
    lane->send(std::span(data).last(kRegionBytes / 2));
    EXPECT_EQ(lane->receive()->header.type, FrameType::kWriteReply);
    const auto found = lane->read(0, 0, kRegionBytes);
    ASSERT_TRUE(found);
    // The hole may open in the middle of a page that is being written.
    const auto [_, foreign] = std::ranges::mismatch(
        data, *found,
        [](std::byte sent, std::byte got) { return got == sent || got == std::byte{}; });
    EXPECT_EQ(foreign, found->end());
  }
  expect_neighbour_unharmed();
}

std::size_t open_descriptors() {
  using Iterator = std::filesystem::directory_iterator;
  return static_cast<std::size_t>(std::distance(Iterator("/proc/self/fd"), Iterator()));
}

TEST_F(NeighbourTest, descriptors_that_nobody_asked_for_are_closed) {
  const std::size_t before = open_descriptors();
  const FrameBytes question = encode_empty(FrameType::kStatsRequest, 3);
  for (int i = 0; i < 50; ++i) {
    attacker_.control->send_with_descriptors(question, STDIN_FILENO, 60);
    EXPECT_EQ(attacker_.control->receive()->header.type, FrameType::kStatsReply);
  }
  EXPECT_EQ(open_descriptors(), before);
}

}  // namespace
}  // namespace rram::test
