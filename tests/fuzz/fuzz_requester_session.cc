// A requester session that is fed anything: frames in any order with any body, time, wishes of its
// owner. First byte: its goal and key; then operations (see step()).
#include <optional>

#include "rdma/session/provider_session.h"
#include "rdma/session/requester_session.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/unit/wire/session_helpers.h"

namespace rram::fuzz {
namespace {

using State = RequesterSession::State;

bool wants_regions(std::uint8_t bits) { return (bits & 16) != 0; }

RequesterSessionOptions make_options(std::uint8_t bits) {
  RequesterSessionOptions options;
  options.requester_name = "r";
  options.provider_text = "p";
  options.can_take_descriptors = (bits & 1) != 0;
  if ((bits & 2) != 0) {
    options.key = test::test_key(1);
  }
  switch (bits >> 2 & 3) {
    case 0:
      options.goal = TakeLease{0, (bits & 1) != 0};
      break;
    case 1:
      options.goal = ReadStats{};
      break;
    case 2:
      options.role = Role::kData;
      [[fallthrough]];
    default:
      options.goal = JoinLease{test::make_terms(), test::kIncarnation,
                               options.role == Role::kData ? 1U : 0U, wants_regions(bits)};
  }
  return options;
}

class Harness {
 public:
  explicit Harness(std::uint8_t bits) : session_(make_options(bits)), honest_(provider(bits), 0) {
    if (wants_regions(bits)) honest_regions_ = test::make_regions();
    take(session_.start(0));
  }

  void step(Input& input) {
    const std::uint8_t operation = input.byte();
    switch (operation % 8) {
      case 0:  // a valid frame of some type, with the right tag or another
      case 1: {
        const auto type = test::kAllTypes[input.byte() % std::size(test::kAllTypes)];
        const auto frame = test::valid_frame(type, next_tag(input.byte()));
        return feed(frame, type == FrameType::kRegionFds ? 3 : 0);
      }
      case 2: {  // any body, perhaps with descriptors
        const auto type = test::kAllTypes[input.byte() % std::size(test::kAllTypes)];
        const std::uint64_t tag = next_tag(input.byte());
        const std::size_t descriptor_count = input.byte() % 4;
        const auto body = input.bytes(input.byte());
        const FrameHeader header{static_cast<std::uint32_t>(body.size()), type, 0, tag};
        return feed({header, {body.begin(), body.end()}}, descriptor_count);
      }
      case 3:  // time
        now_ms_ += std::uint64_t{input.byte()} << (input.byte() % 16);
        return take(session_.on_tick(now_ms_));
      case 4:
        return take(session_.request_stats(now_ms_));
      case 5:
        return honest_step();
      case 6:
        return take(session_.release(now_ms_));
      default:
        return take(operation > 128 ? session_.on_closed()
                                    : session_.on_malformed({ErrorCode::kProtocol, "x"}));
    }
  }

 private:
  static ProviderSessionOptions provider(std::uint8_t bits) {
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

  // Mostly the tag of the oldest request that was not answered yet.
  std::uint64_t next_tag(std::uint8_t choice) {
    if (choice > 200 || asked_.empty()) {
      return choice;
    }
    return asked_.at(answered_ < asked_.size() ? answered_ : asked_.size() - 1);
  }

  void feed(const FrameReader::Frame& frame, std::size_t descriptor_count) {
    const bool ends_a_request =
        frame.header.type != FrameType::kLeaseGrant && frame.header.type != FrameType::kAuth;
    answered_ += ends_a_request ? 1 : 0;
    take(session_.on_frame(frame.header, frame.body, descriptor_count, now_ms_));
  }

  // A provider that keeps to the protocol answers the oldest frame.
  void honest_step() {
    if (to_honest_.empty()) {
      return;
    }
    const auto frame = to_honest_.front();
    to_honest_.erase(to_honest_.begin());
    take_honest(honest_.on_frame(frame.header, frame.body, 0, now_ms_));
  }

  void take_honest(const ProviderActions& actions) {
    for (const auto& action : actions) {
      if (const auto* send = std::get_if<SendFrame>(&action)) {
        feed(test::to_frame(send->bytes), 0);
      } else if (const auto* fds = std::get_if<SendDescriptors>(&action)) {
        feed(test::to_frame(fds->bytes), fds->count);
      } else if (std::holds_alternative<WantLease>(action)) {
        take_honest(honest_.grant(test::make_terms(), now_ms_));
      } else if (std::holds_alternative<WantAttach>(action)) {
        take_honest(honest_.attached(test::make_terms(), honest_regions_, now_ms_));
      } else if (const auto* stats = std::get_if<WantStats>(&action)) {
        take_honest(honest_.stats(stats->tag, {}));
      } else if (std::holds_alternative<WantRelease>(action)) {
        take_honest(honest_.released());
      }
    }
  }

  void take(const RequesterActions& actions) {
    require(!closed_ || actions.empty());
    for (const auto& action : actions) {
      require(!closed_);
      closed_ = std::holds_alternative<CloseConnection>(action);
      if (const auto* ready = std::get_if<LeaseReady>(&action)) {
        require(ready->terms.region_count > 0);
        require(session_.state() == State::kLeased);
      }
      if (const auto* joined = std::get_if<LeaseJoined>(&action)) {
        require(joined->regions.size() == honest_regions_.size());
      }
    }
    require(closed_ == (session_.state() == State::kClosed));
    for (const auto& frame : test::sent_frames(actions)) {  // aborts on a frame that is none
      to_honest_.push_back(frame);
      if (frame.header.tag != 0) {
        asked_.push_back(frame.header.tag);
      }
    }
  }

  RequesterSession session_;
  ProviderSession honest_;
  std::vector<RegionEntry> honest_regions_;
  std::vector<FrameReader::Frame> to_honest_;
  std::vector<std::uint64_t> asked_;
  std::size_t answered_ = 0;
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
