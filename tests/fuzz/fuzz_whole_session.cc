// A real requester and a real provider, and somebody in the middle who passes on what they say, or
// less, more, or something else: from connecting through lease, lanes and data to the release.
// Input: bit 0 of the first byte: by shared memory, or by frames; then what happens to each piece
// that passes (see tamper()); when there is no more input, everything passes.
//
// Whatever happens, every step of the requester ends with a result or a sentence, what it reads
// back of an untouched session is what it wrote, and the provider is as it was before.
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "base/io.h"
#include "rdma/control/descriptor_passing.h"
#include "rdma/control/socket_channel.h"
#include "rdma/shm/shm_lease.h"
#include "rdma/tcp/tcp_lease.h"
#include "rdma/wire/codec.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/whole_provider.h"
#include "tests/unit/wire/session_helpers.h"

namespace rram::fuzz {
namespace {

// For each step of the requester: a middle that swallows bytes must not cost more.
constexpr std::uint64_t kStepMs = 20;
// A session that took longer may have failed because this host was busy.
constexpr std::uint64_t kQuickMs = kStepMs / 2;
constexpr std::size_t kDataBytes = 96U << 10;
constexpr std::size_t kPieceBytes = 64U << 10;

// A folder for the socket, which goes when the program ends.
class SocketFolder {
 public:
  SocketFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "fuzz-XXXXXX").string();
    require(::mkdtemp(pattern.data()) != nullptr);
    folder_ = pattern;
  }
  ~SocketFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  SocketFolder(const SocketFolder&) = delete;
  SocketFolder& operator=(const SocketFolder&) = delete;
  [[nodiscard]] std::string socket_path() const { return folder_ + "/middle.sock"; }

 private:
  std::string folder_;
};

UniqueFd listen_at(const std::string& path) {
  UniqueFd listening(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ::unlink(path.c_str());
  require(::bind(listening.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
          0);
  require(::listen(listening.get(), 8) == 0);
  return listening;
}

class Session {
 public:
  Session(WholeProvider& provider, const std::string& path, Input input)
      : provider_(provider),
        loop_(provider.loop()),
        input_(input),
        by_memory_(input_.byte() % 2 == 1),
        listening_(listen_at(path)) {
    endpoint_.scheme = Endpoint::Scheme::kUnix;
    endpoint_.path = path;
  }

  Task<> play() {
    const std::uint64_t begin_ms = loop_.now_ms();
    spawn(passing_, accept_all());
    co_await use_lease();
    ::shutdown(listening_.get(), SHUT_RDWR);
    co_await passing_.close();
    const bool was_quick = loop_.now_ms() - begin_ms < kQuickMs;
    require(has_succeeded_ || is_touched_ || !was_quick);
    co_await provider_.until_empty();
  }

 private:
  // ---- the requester ---------------------------------------------------------------------------

  Task<> use_lease() {
    LeaseOptions options;
    options.requester_name = "r";
    options.timeout_ms = kStepMs;
    options.longest_ms = kStepMs;
    Result<std::unique_ptr<HeldLease>> lease = fail(ErrorCode::kCancelled);
    if (by_memory_) {
      lease = co_await ShmLease::take(loop_, endpoint_, options);
    } else {
      lease = co_await TcpLease::take(loop_, endpoint_, options);
    }
    if (!is_said(lease)) co_return;
    require(!(*lease)->regions().empty());
    Result<std::unique_ptr<Lane>> lane =
        co_await (*lease)->open_lane(loop_, 1, TimeLimit{kStepMs, kStepMs});
    if (is_said(lane)) {
      co_await use_lane(**lane, (*lease)->regions().front());
      co_await (*lane)->close();
    }
    co_await (*lease)->release(kStepMs);
  }

  template <typename T>
  static bool is_said(const Result<T>& result) {
    require(result.has_value() || !result.error().message.empty());
    return result.has_value();
  }

  Task<> use_lane(Lane& lane, const RemoteRegion& region) {
    std::vector<std::byte> written(kDataBytes);
    for (std::size_t i = 0; i < written.size(); ++i) written[i] = static_cast<std::byte>(i * 31);
    std::vector<std::byte> read(kDataBytes);
    if (region.length_bytes < kDataBytes) co_return;  // as the middle says
    const bool is_written = co_await operate(lane, region, Operation::Kind::kWrite, written);
    const bool is_read = co_await operate(lane, region, Operation::Kind::kRead, read);
    has_succeeded_ = is_written && is_read;
    require(!has_succeeded_ || is_touched_ || read == written);
  }

  Task<bool> operate(Lane& lane, const RemoteRegion& region, Operation::Kind kind,
                     std::span<std::byte> local) {
    OperationGroup group;
    Operation operation;
    operation.kind = kind;
    operation.region = &region;
    operation.local = local;
    operation.deadline_ns = loop_.now_ns() + kStepMs * 1'000'000;
    group.add(operation);
    lane.submit(operation);
    const std::optional<ErrorCode> failure = co_await group;
    co_return !failure;
  }

  // ---- in the middle ---------------------------------------------------------------------------

  Task<> accept_all() {
    for (;;) {
      const int accepted = co_await accept_connection(loop_, listening_.get());
      if (accepted < 0) co_return;
      spawn(passing_, pass_both_ways(UniqueFd(accepted), provider_.connect(true)));
    }
  }

  Task<> pass_both_ways(UniqueFd requester_fd, UniqueFd provider_fd) {
    SocketChannel requester(loop_, std::move(requester_fd));
    SocketChannel provider(loop_, std::move(provider_fd));
    Gate directions;
    spawn(directions, pass(requester, provider));
    spawn(directions, pass(provider, requester));
    co_await directions.close();
  }

  Task<> pass(SocketChannel& from, SocketChannel& to) {
    std::vector<std::byte> buffer(kPieceBytes);
    for (;;) {
      const int received = co_await from.receive(buffer, ByteChannel::kNoDeadline);
      std::vector<UniqueFd> descriptors = from.take_descriptors();
      if (received <= 0) break;
      std::vector<std::byte> piece(buffer.begin(), buffer.begin() + received);
      if (!tamper(piece, descriptors)) break;
      const bool is_sent = co_await send_on(to, std::move(piece), std::move(descriptors));
      if (!is_sent) break;
    }
    // Both ends see that it is over; what is under way the other way ends too.
    from.shut_down();
    to.shut_down();
  }

  Task<bool> send_on(SocketChannel& to, std::vector<std::byte> piece,
                     std::vector<UniqueFd> descriptors) {
    if (piece.empty()) co_return true;
    if (descriptors.empty()) {
      const int sent = co_await to.send(piece);
      co_return sent >= 0;
    }
    std::vector<int> numbers;
    for (const UniqueFd& descriptor : descriptors) numbers.push_back(descriptor.get());
    const Status sent = co_await send_with_descriptors(loop_, to.fd(), piece, numbers);
    co_return sent.has_value();
  }

  // False: the connection is cut here.
  bool tamper(std::vector<std::byte>& piece, std::vector<UniqueFd>& descriptors) {
    const std::uint8_t choice = input_.byte();
    if (choice < 64) return true;
    is_touched_ = true;
    switch (choice % 8) {
      case 0:
        return false;
      case 1:
        piece.resize(input_.number<std::uint16_t>() % (piece.size() + 1));
        return true;
      case 2: {
        const auto more = input_.bytes(input_.byte());
        piece.insert(piece.begin(), more.begin(), more.end());
        return true;
      }
      case 3:
        insert_frame(piece);
        return true;
      case 4:
        change_descriptors(descriptors);
        return true;
      default: {
        // The header or the body of what is mostly one frame.
        const std::size_t at = input_.byte() % std::min<std::size_t>(piece.size(), 128);
        piece[at] = std::byte{input_.byte()};
        return true;
      }
    }
  }

  void insert_frame(std::vector<std::byte>& piece) {
    const auto type = test::kAllTypes[input_.byte() % std::size(test::kAllTypes)];
    const FrameReader::Frame frame = test::valid_frame(type, input_.byte());
    const FrameBytes bytes = encode_frame(frame.header.type, frame.header.tag, frame.body);
    piece.insert(input_.byte() % 2 == 0 ? piece.begin() : piece.end(), bytes.begin(), bytes.end());
  }

  // Memory of another size, memory that could shrink, or what is no memory at all.
  void change_descriptors(std::vector<UniqueFd>& descriptors) {
    const std::uint8_t choice = input_.byte();
    if (choice % 4 == 0 && !descriptors.empty()) {
      descriptors.pop_back();
      return;
    }
    UniqueFd other(::memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    require(::ftruncate(other.get(), off_t{choice} << 16) == 0);
    if (choice % 4 == 1) other.reset(::dup(listening_.get()));
    if (choice % 4 == 2 || descriptors.empty()) {
      if (descriptors.size() < kMaxDescriptorsPerFrame) descriptors.push_back(std::move(other));
    } else {
      descriptors[choice / 4 % descriptors.size()] = std::move(other);
    }
  }

  WholeProvider& provider_;
  EventLoop& loop_;
  Input input_;
  const bool by_memory_;
  const UniqueFd listening_;
  Endpoint endpoint_;
  Gate passing_;
  bool is_touched_ = false;
  bool has_succeeded_ = false;
};

}  // namespace
}  // namespace rram::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static rram::fuzz::WholeProvider provider;
  static const rram::fuzz::SocketFolder folder;
  rram::fuzz::Session session(provider, folder.socket_path(), rram::fuzz::Input(data, size));
  provider.run(session.play());
  return 0;
}
