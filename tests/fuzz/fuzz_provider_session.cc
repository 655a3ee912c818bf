// A provider session that is fed anything: frames in any order with any body, time, answers of the
// pool. First byte: how the provider is set up; then operations (see step()).
#include <optional>

#include "rdma/session/provider_session.h"
#include "rdma/session/requester_session.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/unit/wire/session_helpers.h"

namespace rram::fuzz {
namespace {

using State = ProviderSession::State;

ProviderSessionOptions make_options(std::uint8_t bits) {
  ProviderSessionOptions options;
  options.provider_name = "p";
  options.incarnation = test::kIncarnation;
  options.segment_bytes = test::kSegmentBytes;
  options.can_pass_descriptors = (bits & 1) != 0;
  if ((bits & 2) != 0) {
    options.key = test::test_key(1);
  }
  return options;
}

class Harness {
 public:
  explicit Harness(std::uint8_t bits) : session_(make_options(bits), 0), honest_(bits) {}

  void step(Input& input) {
    const std::uint8_t operation = input.byte();
    switch (operation % 8) {
      case 0:  // a valid frame of some type
      case 1: {
        const auto type = test::kAllTypes[input.byte() % std::size(test::kAllTypes)];
        const auto frame = test::valid_frame(type, input.byte());
        return take(session_.on_frame(frame.header, frame.body, 0, now_ms_));
      }
      case 2: {  // any body, perhaps with descriptors
        const auto type = test::kAllTypes[input.byte() % std::size(test::kAllTypes)];
        const std::uint8_t descriptor_count = input.byte() % 8 == 7 ? 1 : 0;
        const auto body = input.bytes(input.byte());
        const FrameHeader header{static_cast<std::uint32_t>(body.size()), type, 0, 0};
        return take(session_.on_frame(header, body, descriptor_count, now_ms_));
      }
      case 3:  // time
        now_ms_ += std::uint64_t{input.byte()} << (input.byte() % 16);
        return take(session_.on_tick(now_ms_));
      case 4:
        return answer(input.byte());
      case 5:
        return honest_step();
      case 6:
        return take(session_.end(static_cast<WireError>(input.byte()), "ended"));
      default:
        return take(operation > 128 ? session_.on_closed()
                                    : session_.on_malformed({ErrorCode::kProtocol, "x"}));
    }
  }

 private:
  // A requester that keeps to the protocol, so that the states behind the key are reached.
  struct Honest {
    explicit Honest(std::uint8_t bits) : session(options(bits)) {}
    static RequesterSessionOptions options(std::uint8_t bits) {
      RequesterSessionOptions options;
      options.requester_name = "r";
      options.provider_text = "p";
      options.can_take_descriptors = (bits & 1) != 0;
      options.goal = TakeLease{0, (bits & 1) != 0};
      if ((bits & 2) != 0) {
        options.key = test::test_key(1);
      }
      if ((bits & 4) != 0) {
        options.role = Role::kData;
        options.goal = JoinLease{test::make_terms(), test::kIncarnation};
      }
      return options;
    }
    RequesterSession session;
    bool started = false;
    std::vector<FrameReader::Frame> to_provider;
  };

  void honest_step() {
    if (!honest_.started) {
      honest_.started = true;
      honest_.to_provider = test::sent_frames(honest_.session.start(now_ms_));
    }
    if (!honest_.to_provider.empty()) {
      const auto frame = honest_.to_provider.front();
      honest_.to_provider.erase(honest_.to_provider.begin());
      take(session_.on_frame(frame.header, frame.body, 0, now_ms_));
    }
  }

  void answer(std::uint8_t choice) {
    if (session_.state() == State::kGranting) {
      const std::uint32_t count = 1 + choice / 2;
      take(choice % 2 == 0 ? session_.wait(0, 1 + choice, now_ms_)
                           : session_.grant(test::make_terms(count), now_ms_));
    } else if (session_.state() == State::kAttaching) {
      const bool with_regions = choice % 2 == 1;
      take(session_.attached(test::make_terms(),
                             with_regions ? test::make_regions() : std::vector<RegionEntry>{},
                             now_ms_));
    } else if (session_.state() == State::kReleasing) {
      take(session_.released());
    }
  }

  void take(const ProviderActions& actions) {
    require(!closed_ || actions.empty());
    for (const auto& action : actions) {
      require(!closed_);
      closed_ = std::holds_alternative<CloseConnection>(action);
      if (const auto* stats = std::get_if<WantStats>(&action)) {
        take(session_.stats(stats->tag, {}));
      }
    }
    require(closed_ == (session_.state() == State::kClosed));
    require(!session_.data_allowed() || session_.role() == Role::kData);
    require(closed_ || session_.state() != State::kLeased || session_.lease_id().has_value());
    for (const auto& frame : test::sent_frames(actions)) {  // aborts on a frame that is none
      const auto more =
          honest_.session.on_frame(frame.header, frame.body, descriptors_of(frame), now_ms_);
      for (const auto& reply : test::sent_frames(more)) {
        honest_.to_provider.push_back(reply);
      }
    }
  }

  static std::size_t descriptors_of(const FrameReader::Frame& frame) {
    return frame.header.type == FrameType::kRegionFds ? decode_region_fds(frame.body)->count : 0;
  }

  ProviderSession session_;
  Honest honest_;
  std::uint64_t now_ms_ = 0;
  bool closed_ = false;
};

}  // namespace
}  // namespace rram::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  rram::fuzz::Input input(data, size);
  rram::fuzz::Harness harness(input.byte());
  for (int steps = 0; !input.empty() && steps < 200; ++steps) {
    harness.step(input);
  }
  return 0;
}
