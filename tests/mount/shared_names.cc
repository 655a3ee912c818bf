#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "tests/mount/shared.h"

namespace rram::exerciser {

namespace {

constexpr uint64_t kDirectories = 3;
constexpr uint64_t kTokens = 12;    // files that move between the directories
constexpr uint64_t kStayers = 30;   // files of each directory that are never touched
constexpr uint64_t kContested = 5;  // names of each kind that workers make and remove

// Names that workers make and remove: what each did is counted, and the sum is what must remain.
enum Contested : uint8_t { kFiles, kLinks, kSubdirectories, kKinds };
constexpr std::array<const char*, kKinds> kPrefixes = {"file", "link", "sub"};

using Tally = std::array<int64_t, kKinds>;  // made less removed

struct Turn {
  World& world;
  const SharedPlan& plan;
  uint32_t worker;
  Chance& chance;
  Tally& tally;
};

std::string directory_of(uint64_t number) { return fmt::format("d{}", number); }
std::string token_of(uint64_t number) { return fmt::format("token{}", number); }
std::string stayer_of(uint64_t number) { return fmt::format("stays{}", number); }
std::string tally_path(const SharedPlan& plan, uint32_t worker) {
  return fmt::format("{}/tally{}", plan.directory, worker);
}
std::string contested_name(Chance& chance, Contested kind) {
  return fmt::format("d0/{}{}", kPrefixes.at(kind), chance.below(kContested));
}

// The answer must be success or the one error that somebody who was faster explains.
bool won(const char* call, const std::string& name, int result, int error_of_others) {
  if (result == 0) return true;
  if (errno == error_of_others) return false;
  disagree("{} {}: {}", call, name, std::strerror(errno));
}

std::string text_of(int fd) {
  std::array<char, 200> text{};
  const ssize_t length = pread(fd, text.data(), text.size(), 0);
  return length < 0 ? std::string("(unreadable)")
                    : std::string(text.data(), static_cast<size_t>(length));
}

void put_text(const std::string& path, const std::string& text) {
  const OwnedFd fd = open_shared(path, O_WRONLY | O_CREAT | O_TRUNC);
  if (write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    disagree("write {}: {}", path, std::strerror(errno));
  }
}

// --- What a worker does ------------------------------------------------------------------------

void move_token(Turn& turn) {
  const std::string name = token_of(turn.chance.below(kTokens));
  const uint64_t from_number = turn.chance.below(kDirectories);
  const uint64_t to_number =
      (from_number + turn.chance.between(1, kDirectories - 1)) % kDirectories;
  const std::string from = directory_of(from_number) + "/" + name;
  const std::string to = directory_of(to_number) + "/" + name;
  const unsigned flags = turn.chance.one_in(2) ? RENAME_NOREPLACE : 0;
  turn.world.note("move {} to {}", from, to);
  const int root = turn.world.root_fd.get();
  won("rename", from, turn.world.storage.rename(root, from.c_str(), root, to.c_str(), flags),
      ENOENT);
}

void read_token(Turn& turn) {
  const std::string name = token_of(turn.chance.below(kTokens));
  const std::string path = directory_of(turn.chance.below(kDirectories)) + "/" + name;
  turn.world.note("read {}", path);
  const OwnedFd fd(openat(turn.world.root_fd.get(), path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!won("open", path, fd.get() < 0 ? -1 : 0, ENOENT)) return;
  if (text_of(fd.get()) != name) disagree("{} holds '{}'", path, text_of(fd.get()));
}

void exchange_pair(Turn& turn) {
  turn.world.note("exchange");
  const int root = turn.world.root_fd.get();
  if (renameat2(root, "d0/left", root, "d1/right", RENAME_EXCHANGE) != 0) {
    disagree("exchange of two that are always there: {}", std::strerror(errno));
  }
}

// A name that is always replaced and never missing; what it holds was written by one worker.
void replace_current(Turn& turn) {
  const std::string fresh = fmt::format("d2/fresh{}", turn.worker);
  const std::string text(turn.chance.between(1, 150), static_cast<char>('a' + turn.worker % 26));
  turn.world.note("replace current");
  put_text(turn.plan.directory + "/" + fresh, text);
  const int root = turn.world.root_fd.get();
  if (renameat(root, fresh.c_str(), root, "d1/current") != 0) {
    disagree("replace current: {}", std::strerror(errno));
  }
}

void read_current(Turn& turn) {
  turn.world.note("read current");
  const OwnedFd fd = open_shared(turn.plan.directory + "/d1/current", O_RDONLY);
  const std::string text = text_of(fd.get());
  if (text.empty() || text.find_first_not_of(text[0]) != std::string::npos) {
    disagree("current is not what one worker wrote: '{}'", text);
  }
}

int make_contested(int root, Contested kind, const std::string& name) {
  if (kind == kLinks) return linkat(root, "d1/anchor", root, name.c_str(), 0);
  if (kind == kSubdirectories) return mkdirat(root, name.c_str(), 0755);
  const OwnedFd fd(openat(root, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  return fd.get() < 0 ? -1 : 0;
}

void make_or_remove(Turn& turn) {
  const auto kind = static_cast<Contested>(turn.chance.below(kKinds));
  const std::string name = contested_name(turn.chance, kind);
  const int root = turn.world.root_fd.get();
  if (turn.chance.one_in(2)) {
    turn.world.note("make {}", name);
    if (won("make", name, make_contested(root, kind, name), EEXIST)) ++turn.tally.at(kind);
    return;
  }
  turn.world.note("remove {}", name);
  const int flags = kind == kSubdirectories ? AT_REMOVEDIR : 0;
  if (won("remove", name, unlinkat(root, name.c_str(), flags), ENOENT)) --turn.tally.at(kind);
}

// How often each name is listed.
std::map<std::string, uint64_t> listed(const std::string& path) {
  DIR* stream = opendir(path.c_str());
  if (stream == nullptr) disagree("opendir {}: {}", path, std::strerror(errno));
  std::map<std::string, uint64_t> names;
  while (const dirent* entry = readdir(stream)) ++names[entry->d_name];
  closedir(stream);
  return names;
}

// Whatever comes and goes: what stays is listed once.
void list_stayers(Turn& turn) {
  const std::string directory = directory_of(turn.chance.below(kDirectories));
  turn.world.note("list {}", directory);
  const auto names = listed(turn.plan.directory + "/" + directory);
  for (uint64_t i = 0; i < kStayers; ++i) {
    const auto found = names.find(stayer_of(i));
    const uint64_t times = found == names.end() ? 0 : found->second;
    if (times != 1) disagree("{}: {} is listed {} times", directory, stayer_of(i), times);
  }
}

struct TurnKind {
  uint64_t weight;
  void (*run)(Turn&);
};

constexpr std::array kTurns = {
    TurnKind{30, move_token},      TurnKind{15, read_token},   TurnKind{8, exchange_pair},
    TurnKind{10, replace_current}, TurnKind{10, read_current}, TurnKind{40, make_or_remove},
    TurnKind{3, list_stayers},
};

const TurnKind& pick_turn(Chance& chance) {
  uint64_t all = 0;
  for (const TurnKind& kind : kTurns) all += kind.weight;
  uint64_t drawn = chance.below(all);
  for (const TurnKind& kind : kTurns) {
    if (drawn < kind.weight) return kind;
    drawn -= kind.weight;
  }
  return kTurns.front();
}

void work(World& world, const SharedPlan& plan, uint32_t worker) {
  Chance chance(mix(plan.seed, 0xa3e5 + worker));
  Tally tally{};
  Turn turn{world, plan, worker, chance, tally};
  for (uint64_t i = 0; i < plan.operations_per_worker; ++i) {
    ++world.operation;
    pick_turn(chance).run(turn);
  }
  put_text(tally_path(plan, worker),
           std::string(reinterpret_cast<const char*>(tally.data()), sizeof tally));
}

// --- Before and after --------------------------------------------------------------------------

void create(const SharedPlan& plan) {
  for (uint64_t directory = 0; directory < kDirectories; ++directory) {
    const std::string path = plan.directory + "/" + directory_of(directory);
    if (mkdir(path.c_str(), 0755) != 0) disagree("mkdir {}: {}", path, std::strerror(errno));
    for (uint64_t i = 0; i < kStayers; ++i) put_text(path + "/" + stayer_of(i), "");
  }
  for (uint64_t i = 0; i < kTokens; ++i) {
    const std::string directory = directory_of(i % kDirectories);
    put_text(fmt::format("{}/{}/{}", plan.directory, directory, token_of(i)), token_of(i));
  }
  put_text(plan.directory + "/d0/left", "left");
  put_text(plan.directory + "/d1/right", "right");
  put_text(plan.directory + "/d1/current", "0");
  put_text(plan.directory + "/d1/anchor", "anchor");
}

Tally sum_of_tallies(const SharedPlan& plan) {
  Tally sum{};
  for (uint32_t worker = 0; worker < plan.workers; ++worker) {
    Tally one{};
    const OwnedFd fd = open_shared(tally_path(plan, worker), O_RDONLY);
    if (read(fd.get(), one.data(), sizeof one) != sizeof one) disagree("a tally is too short");
    for (size_t kind = 0; kind < kKinds; ++kind) sum.at(kind) += one.at(kind);
  }
  return sum;
}

void verify_tokens(const SharedPlan& plan) {
  std::map<std::string, uint64_t> names;
  for (uint64_t i = 0; i < kDirectories; ++i) {
    for (const auto& [name, times] : listed(plan.directory + "/" + directory_of(i))) {
      names[name] += times;
    }
  }
  for (uint64_t i = 0; i < kTokens; ++i) {
    if (names[token_of(i)] != 1) {
      disagree("{} is in {} directories, expected 1", token_of(i), names[token_of(i)]);
    }
  }
}

uint64_t links_of(const std::string& path) {
  struct stat attributes{};
  if (stat(path.c_str(), &attributes) != 0) disagree("stat {}: {}", path, std::strerror(errno));
  return attributes.st_nlink;
}

void expect_count(const char* what, uint64_t got, int64_t expected) {
  if (static_cast<int64_t>(got) != expected) disagree("{}: {}, expected {}", what, got, expected);
}

void verify_contested(const SharedPlan& plan) {
  const Tally expected = sum_of_tallies(plan);
  const auto names = listed(plan.directory + "/d0");
  for (size_t kind = 0; kind < kKinds; ++kind) {
    uint64_t there = 0;
    for (uint64_t i = 0; i < kContested; ++i) {
      there += names.contains(fmt::format("{}{}", kPrefixes.at(kind), i)) ? 1 : 0;
    }
    expect_count(kPrefixes.at(kind), there, expected.at(kind));
  }
  expect_count("links of the anchor", links_of(plan.directory + "/d1/anchor"),
               1 + expected.at(kLinks));
}

void verify(World& world, const SharedPlan& plan) {
  verify_tokens(plan);
  verify_contested(plan);
  const std::string left = text_of(open_shared(plan.directory + "/d0/left", O_RDONLY).get());
  const std::string right = text_of(open_shared(plan.directory + "/d1/right", O_RDONLY).get());
  if (left + right != "leftright" && left + right != "rightleft") {
    disagree("after exchanges: '{}' and '{}'", left, right);
  }
  Chance chance(0);
  Tally tally{};
  Turn turn{world, plan, 0, chance, tally};
  read_current(turn);
}

}  // namespace

SharedPart shared_names() { return {"names", create, work, verify}; }

}  // namespace rram::exerciser
