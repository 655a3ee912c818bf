// A whole requester, with memory of its own, and the fuzzer in the place of the kernel: libfuse
// takes a socket for /dev/fuse. Requests have the layout that the kernel gives them; what is in
// them is the input's. Each is answered exactly once, with what fits where the kernel asked for it.
// After each input everything is removed and forgotten, and the volume has all of its room again.
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "fusefs/requester.h"
#include "tests/fuzz/fuzz_input.h"

namespace rram::fuzz {
namespace {

constexpr int kMaxSteps = 100;
constexpr std::uint32_t kMaxTransferBytes = 64U << 10;
// More than the deadline of a request, less than libFuzzer's for an input.
constexpr int kReplyMs = 8'000;
// So many replies fit into the socket.
constexpr std::size_t kMaxUnderWay = 2;
constexpr std::uint32_t kTmpfile = 51;  // FUSE_TMPFILE, which Debian 12's header does not have
constexpr std::uint64_t kMaxOffset = (std::uint64_t{1} << 63) - 1;

struct Reply {
  int error = 0;
  std::vector<std::byte> body;
};

template <typename T>
std::optional<T> read_as(const Reply& reply) {
  if (reply.error != 0 || reply.body.size() < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, reply.body.data(), sizeof value);
  return value;
}

// A request as it lies in /dev/fuse.
class Request {
 public:
  Request(std::uint32_t opcode, std::uint64_t node) : header_{.opcode = opcode, .nodeid = node} {}

  template <typename T>
  Request& add(const T& own) {
    const auto bytes = std::as_bytes(std::span(&own, 1));
    body_.insert(body_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  Request& add_bytes(std::span<const std::byte> bytes) {
    body_.insert(body_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  // With the NUL at its end.
  Request& add_name(const std::string& name) {
    return add_bytes(std::as_bytes(std::span(name.c_str(), name.size() + 1)));
  }
  Request& as(std::uint32_t user) {
    header_.uid = header_.gid = user;
    return *this;
  }
  // At most so many bytes may be answered.
  Request& expect(std::size_t bytes) {
    most_bytes_ = bytes;
    return *this;
  }

  [[nodiscard]] std::size_t most_bytes() const { return most_bytes_; }
  [[nodiscard]] std::vector<std::byte> bytes(std::uint64_t unique) const {
    fuse_in_header header = header_;
    header.len = static_cast<std::uint32_t>(sizeof header + body_.size());
    header.unique = unique;
    header.pid = static_cast<std::uint32_t>(::getpid());
    std::vector<std::byte> all(header.len);
    std::memcpy(all.data(), &header, sizeof header);
    std::ranges::copy(body_, all.begin() + sizeof header);
    return all;
  }

 private:
  fuse_in_header header_;
  std::vector<std::byte> body_;
  std::size_t most_bytes_ = kMaxTransferBytes;
};

// The kernel's end of one mount.
class Kernel {
 public:
  Kernel() {
    spdlog::set_level(spdlog::level::off);
    std::array<int, 2> ends{};
    require(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) == 0);
    socket_.reset(ends[0]);
    begin_mount();
    RequesterOptions options;
    options.mountpoint = "/dev/fd/" + std::to_string(ends[1]);
    Endpoint own_memory;
    own_memory.scheme = Endpoint::Scheme::kLocal;
    own_memory.size_bytes = std::uint64_t{8} << 20;
    options.providers = {own_memory};
    options.workers = 1;
    options.front_end = FrontEndKind::kDevFuse;
    options.fs_name = "fuzz";
    Result<std::unique_ptr<Requester>> requester = Requester::start(
        options, [this](const Status&) { ended_.set_value(); }, [] { return false; });
    require(requester.has_value());
    requester_ = std::move(*requester);
    under_way_.emplace(unique_, kMaxTransferBytes);
    receive();  // INIT's reply
  }
  ~Kernel() {
    socket_.reset();
    ended_.get_future().wait();
  }
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  Reply ask(const Request& request) {
    begin(request);
    const std::uint64_t asked = unique_;
    for (;;) {
      const auto [unique, reply] = receive();
      if (unique == asked) return reply;
    }
  }
  // Answered some time before settle() ends.
  void begin(const Request& request) {
    while (under_way_.size() >= kMaxUnderWay) receive();
    send(request);
    under_way_.emplace(unique_, request.most_bytes());
  }
  // FORGET and INTERRUPT have no answer.
  void tell(const Request& request) { send(request); }
  void settle() {
    while (!under_way_.empty()) receive();
  }

 private:
  void begin_mount() {
    fuse_init_in init{};
    init.major = FUSE_KERNEL_VERSION;
    init.minor = FUSE_KERNEL_MINOR_VERSION;
    init.flags = ~static_cast<std::uint32_t>(FUSE_INIT_EXT);  // all but a second word of them
    send(Request(FUSE_INIT, 0).add(init));
  }

  void send(const Request& request) {
    const std::vector<std::byte> bytes = request.bytes(++unique_);
    const ssize_t sent =
        retried([&] { return ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL); });
    require(sent == static_cast<ssize_t>(bytes.size()));
  }

  // Once it has come, or else after the time for it, whatever alarms came meanwhile.
  [[nodiscard]] bool has_reply() const {
    const std::uint64_t start_ns = monotonic_ns();
    return retried([&] {
             const auto passed_ms = static_cast<int>((monotonic_ns() - start_ns) / 1'000'000);
             pollfd waiting{socket_.get(), POLLIN, 0};
             return ::poll(&waiting, 1, std::max(0, kReplyMs - passed_ms));
           }) == 1;
  }

  std::pair<std::uint64_t, Reply> receive() {
    std::vector<std::byte> buffer(2 * kMaxTransferBytes);
    for (;;) {
      require(has_reply());
      const ssize_t received =
          retried([&] { return ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_TRUNC); });
      fuse_out_header header{};
      require(received >= static_cast<ssize_t>(sizeof header));
      require(received <= static_cast<ssize_t>(buffer.size()));
      std::memcpy(&header, buffer.data(), sizeof header);
      require(header.len == static_cast<std::uint32_t>(received));
      if (header.unique == 0) continue;  // a notification
      require(header.error <= 0 && header.error > -512);
      const auto asked = under_way_.extract(header.unique);
      require(!asked.empty());
      const std::size_t body_bytes = header.len - sizeof header;
      require(body_bytes <= asked.mapped());
      buffer.erase(buffer.begin(), buffer.begin() + sizeof header);
      buffer.resize(body_bytes);
      return {header.unique, Reply{-header.error, std::move(buffer)}};
    }
  }

  UniqueFd socket_;
  std::uint64_t unique_ = 0;
  std::map<std::uint64_t, std::size_t> under_way_;  // by number: the most that may be answered
  std::promise<void> ended_;
  std::unique_ptr<Requester> requester_;
};

// What the kernel knows: which nodes it was told of, and how often.
class Mount {
 public:
  explicit Mount(Kernel& kernel) : kernel_(kernel), fresh_(figures()) {}

  void step(Input& input) {
    const std::uint8_t operation = input.byte();
    const std::uint64_t node = pick(input);
    const std::uint32_t user = operation >= 224 ? 1000 : 0;
    switch (operation % 24) {
      case 0:
        return enter(Request(FUSE_LOOKUP, node).add_name(name(input)));
      case 1:
        return enter(Request(FUSE_MKNOD, node)
                         .add(fuse_mknod_in{mode(input), input.byte(), 022, 0})
                         .add_name(name(input))
                         .as(user));
      case 2:
        return enter(Request(FUSE_MKDIR, node)
                         .add(fuse_mkdir_in{input.number<std::uint16_t>() & 07777U, 022})
                         .add_name(name(input))
                         .as(user));
      case 3:
        return enter(Request(FUSE_SYMLINK, node).add_name(name(input)).add_name(name(input)));
      case 4:
        return enter(Request(FUSE_LINK, node).add(fuse_link_in{pick(input)}).add_name(name(input)));
      case 5:
      case 6:
        return enter(Request(operation % 2 == 0 ? kTmpfile : FUSE_CREATE, node)
                         .add(fuse_create_in{O_RDWR | O_CREAT, S_IFREG | 0644U, 022, 0})
                         .add_name(name(input))
                         .as(user));
      case 7:
        return ask(Request(FUSE_UNLINK, node).add_name(name(input)));
      case 8:
        return ask(Request(FUSE_RMDIR, node).add_name(name(input)));
      case 9:
        return ask(Request(FUSE_RENAME2, node)
                       .add(fuse_rename2_in{pick(input), input.byte() % 8U, 0})
                       .add_name(name(input))
                       .add_name(name(input)));
      case 10:
        return set_attributes(node, user, input);
      case 11:
      case 12:
        return write(node, input);
      case 13:
        return read(FUSE_READ, node, input);
      case 14:
        return read(operation < 128 ? FUSE_READDIR : FUSE_READDIRPLUS, node, input);
      case 15:
        return set_xattr(node, user, input);
      case 16:
        return get_xattr(node, user, input);
      case 17:
        return ask(Request(FUSE_REMOVEXATTR, node).add_name(xattr_name(input)));
      case 18:
        return kernel_.begin(
            Request(FUSE_FALLOCATE, node)
                .add(fuse_fallocate_in{0, offset(input), offset(input), input.byte(), 0}));
      case 19:
        return ask(Request(FUSE_LSEEK, node).add(fuse_lseek_in{0, offset(input), input.byte(), 0}));
      case 20:
        return kernel_.begin(Request(FUSE_COPY_FILE_RANGE, node)
                                 .add(fuse_copy_file_range_in{0, offset(input), pick(input), 0,
                                                              offset(input), offset(input), 0}));
      case 21:
        return forget(node, 1 + input.byte() % 3);
      case 22:
        return ask(Request(input.byte() % 2 == 0 ? FUSE_FSYNC : FUSE_FSYNCDIR, node)
                       .add(fuse_fsync_in{0, input.byte() % 2U, 0}));
      default:
        return other(node, input);
    }
  }

  // Everything the input has left is removed, and the kernel forgets it.
  void clear() {
    kernel_.settle();
    empty_directory(FUSE_ROOT_ID);
    while (!nodes_.empty()) forget(nodes_.begin()->first, UINT64_MAX);
    // Removed blocks may come back a moment later.
    for (int i = 0; i < kReplyMs && figures() != fresh_; ++i) ::usleep(1000);
    require(figures() == fresh_);
  }

 private:
  using Figures = std::array<std::uint64_t, 3>;  // blocks, free ones, inodes used

  Figures figures() {
    const auto out = read_as<fuse_statfs_out>(kernel_.ask(Request(FUSE_STATFS, FUSE_ROOT_ID)));
    require(out.has_value());
    return {out->st.blocks, out->st.bfree, out->st.files - out->st.ffree};
  }

  void ask(const Request& request) { kernel_.ask(request); }

  // A request whose answer is a node.
  void enter(const Request& request) {
    const auto entry = read_as<fuse_entry_out>(kernel_.ask(request));
    if (entry && entry->nodeid != 0) remember(entry->nodeid);
  }

  void remember(std::uint64_t node) {
    if (node != FUSE_ROOT_ID) ++nodes_[node];
  }

  void forget(std::uint64_t node, std::uint64_t count) {
    const auto known = nodes_.find(node);
    if (known == nodes_.end()) return;
    count = std::min(count, known->second);
    kernel_.tell(Request(FUSE_FORGET, node).add(fuse_forget_in{count}));
    known->second -= count;
    if (known->second == 0) nodes_.erase(known);
  }

  // The root, or one that the kernel knows.
  std::uint64_t pick(Input& input) {
    const std::size_t which = input.byte() % 8;
    if (which >= nodes_.size()) return FUSE_ROOT_ID;
    return std::next(nodes_.begin(), static_cast<std::ptrdiff_t>(which))->first;
  }

  // What the kernel lets through: 1 to 255 bytes, no slash, no NUL, neither "." nor "..".
  static std::string name(Input& input) {
    const std::uint8_t choice = input.byte();
    if (choice < 192) return std::string(1, static_cast<char>('a' + choice % 6));
    std::string text(input.text(1 + choice % 64));
    std::ranges::replace(text, '/', '_');
    std::ranges::replace(text, '\0', '_');
    if (choice >= 250) text.resize(255, 'x');
    return text.empty() || text == "." || text == ".." ? "a" : text;
  }

  static std::string xattr_name(Input& input) {
    constexpr std::array<const char*, 5> kNames = {"user.a", "trusted.b", "security.capability",
                                                   "system.posix_acl_access",
                                                   "system.posix_acl_default"};
    const std::uint8_t choice = input.byte();
    return choice < 192 ? kNames[choice % kNames.size()] : name(input);
  }

  static std::uint32_t mode(Input& input) {
    constexpr std::array<std::uint32_t, 5> kKinds = {S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK};
    return kKinds[input.byte() % kKinds.size()] | (input.number<std::uint16_t>() & 07777U);
  }

  // Small ones, those round the end of the volume, and those that no volume has.
  static std::uint64_t offset(Input& input) {
    const std::uint64_t number = input.number<std::uint16_t>();
    return number << (input.byte() % 48) & kMaxOffset;
  }

  void set_attributes(std::uint64_t node, std::uint32_t user, Input& input) {
    fuse_setattr_in own{};
    own.valid = input.number<std::uint16_t>();
    own.size = offset(input);
    own.mode = mode(input);
    own.uid = own.gid = input.byte();
    own.mtime = input.number<std::uint32_t>();
    own.mtimensec = input.number<std::uint32_t>() % 1'000'000'000;
    ask(Request(FUSE_SETATTR, node).add(own).as(user));
  }

  void write(std::uint64_t node, Input& input) {
    fuse_write_in own{};
    own.offset = offset(input);
    own.write_flags = input.byte() % 8;
    own.size = 1 + input.number<std::uint16_t>() % kMaxTransferBytes;
    const std::vector<std::byte> data(own.size, std::byte{7});
    own.offset = std::min(own.offset, kMaxOffset - own.size);
    kernel_.begin(Request(FUSE_WRITE, node).add(own).add_bytes(data));
  }

  void read(std::uint32_t opcode, std::uint64_t node, Input& input) {
    fuse_read_in own{};
    own.offset = offset(input);
    own.size = input.number<std::uint16_t>();
    const bool lists_nodes = opcode == FUSE_READDIRPLUS;
    const Request request = Request(opcode, node).add(own).expect(own.size);
    if (!lists_nodes) return kernel_.begin(request);
    remember_entries(kernel_.ask(request));
  }

  void remember_entries(const Reply& reply) {
    std::span<const std::byte> rest(reply.body);
    while (rest.size() >= FUSE_NAME_OFFSET_DIRENTPLUS) {
      fuse_direntplus entry{};
      std::memcpy(&entry, rest.data(), FUSE_NAME_OFFSET_DIRENTPLUS);
      const std::size_t bytes =
          FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + entry.dirent.namelen);
      require(entry.dirent.namelen > 0 && bytes <= rest.size());
      const std::string_view text(
          reinterpret_cast<const char*>(rest.data()) + FUSE_NAME_OFFSET_DIRENTPLUS,
          entry.dirent.namelen);
      if (entry.entry_out.nodeid != 0 && text != "." && text != "..") {
        remember(entry.entry_out.nodeid);
      }
      rest = rest.subspan(bytes);
    }
  }

  void set_xattr(std::uint64_t node, std::uint32_t user, Input& input) {
    const std::string own_name = xattr_name(input);
    const std::uint32_t flags = input.byte() % 3;
    const auto value = input.bytes(input.byte());
    // Without FUSE_SETXATTR_EXT: a size and flags.
    const std::array<std::uint32_t, 2> own{static_cast<std::uint32_t>(value.size()), flags};
    ask(Request(FUSE_SETXATTR, node).add(own).add_name(own_name).add_bytes(value).as(user));
  }

  void get_xattr(std::uint64_t node, std::uint32_t user, Input& input) {
    const std::uint32_t room = input.byte();
    const std::size_t most = std::max<std::size_t>(room, sizeof(fuse_getxattr_out));
    Request request(input.byte() % 2 == 0 ? FUSE_GETXATTR : FUSE_LISTXATTR, node);
    ask(request.add(fuse_getxattr_in{room, 0}).add_name(xattr_name(input)).expect(most).as(user));
  }

  // What has nothing but a header, and what the requester does not know.
  void other(std::uint64_t node, Input& input) {
    constexpr std::array<std::uint32_t, 8> kOpcodes = {FUSE_GETATTR, FUSE_READLINK, FUSE_STATFS,
                                                       FUSE_GETLK,   FUSE_BMAP,     FUSE_IOCTL,
                                                       FUSE_POLL,    FUSE_INTERRUPT};
    const std::uint32_t opcode = kOpcodes[input.byte() % kOpcodes.size()];
    Request request(opcode, node);
    request.add(std::array<std::byte, 64>{});
    if (opcode == FUSE_INTERRUPT) return kernel_.tell(request);
    ask(request);
  }

  void empty_directory(std::uint64_t directory) {
    for (;;) {
      const std::vector<std::string> names = names_in(directory);
      if (names.empty()) return;
      for (const std::string& one : names) remove(directory, one);
    }
  }

  void remove(std::uint64_t directory, const std::string& one) {
    const auto entry =
        read_as<fuse_entry_out>(kernel_.ask(Request(FUSE_LOOKUP, directory).add_name(one)));
    require(entry.has_value() && entry->nodeid != 0);
    remember(entry->nodeid);
    const bool is_directory = S_ISDIR(entry->attr.mode);
    if (is_directory) empty_directory(entry->nodeid);
    const Reply removed =
        kernel_.ask(Request(is_directory ? FUSE_RMDIR : FUSE_UNLINK, directory).add_name(one));
    require(removed.error == 0);
  }

  std::vector<std::string> names_in(std::uint64_t directory) {
    fuse_read_in own{};
    own.size = kMaxTransferBytes / 2;
    const Reply reply = kernel_.ask(Request(FUSE_READDIR, directory).add(own));
    require(reply.error == 0);
    std::vector<std::string> names;
    std::span<const std::byte> rest(reply.body);
    while (rest.size() >= FUSE_NAME_OFFSET) {
      fuse_dirent entry{};
      std::memcpy(&entry, rest.data(), FUSE_NAME_OFFSET);
      const std::string text(reinterpret_cast<const char*>(rest.data()) + FUSE_NAME_OFFSET,
                             entry.namelen);
      if (text != "." && text != "..") names.push_back(text);
      rest = rest.subspan(std::min<std::size_t>(FUSE_DIRENT_SIZE(&entry), rest.size()));
    }
    return names;
  }

  Kernel& kernel_;
  const Figures fresh_;
  std::map<std::uint64_t, std::uint64_t> nodes_;  // the kernel's lookups of each
};

}  // namespace
}  // namespace rram::fuzz

// A coroutine that waits for the kernel is known to the kernel alone, and looks like a leak; what
// the volume keeps is counted by Mount::clear().
// NOLINTNEXTLINE(readability-identifier-naming): the sanitizer's name
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static rram::fuzz::Kernel kernel;
  rram::fuzz::Input input(data, size);
  rram::fuzz::Mount mount(kernel);
  for (int steps = 0; !input.empty() && steps < rram::fuzz::kMaxSteps; ++steps) mount.step(input);
  mount.clear();
  return 0;
}
