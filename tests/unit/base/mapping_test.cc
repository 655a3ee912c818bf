#include "base/mapping.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "base/fd.h"

namespace rram::test {
namespace {

// More than the registers hold: those of the thread are in the dump, and the last copy went through
// them.
constexpr std::size_t kCanaryBytes = 4096;
constexpr std::size_t kMappingBytes = std::size_t{4} << 20;

// Made when it is needed, so that no copy of it lies in the program.
void make_canary(std::span<std::byte> bytes, unsigned seed) {
  std::mt19937 random(seed);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
}

// Leaves no copy anywhere else: memory that was freed is in a core dump too.
void fill(std::span<std::byte> memory, unsigned seed) {
  const std::span<std::byte> first = memory.first(kCanaryBytes);
  make_canary(first, seed);
  for (std::size_t at = kCanaryBytes; at < memory.size(); at += kCanaryBytes) {
    std::ranges::copy(first, memory.begin() + static_cast<std::ptrdiff_t>(at));
  }
}

bool is_found(const std::vector<std::byte>& bytes, unsigned seed) {
  std::vector<std::byte> canary(kCanaryBytes);
  make_canary(canary, seed);
  return !std::ranges::search(bytes, canary).empty();
}

enum : unsigned { kInHeap = 1, kInAnonymous = 2, kInShared = 3 };

// In a process of its own, which leaves a core dump in the working directory if it may.
[[noreturn]] void fill_memory_and_abort(const std::string& folder) {
  rlimit limit{};
  ::getrlimit(RLIMIT_CORE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_CORE, &limit);
  std::filesystem::current_path(folder);
  std::vector<std::byte> heap(kCanaryBytes);
  fill(heap, kInHeap);
  const Result<Mapping> anonymous = Mapping::anonymous(kMappingBytes, true);
  fill(anonymous->bytes(), kInAnonymous);
  const UniqueFd fd(::memfd_create("mapping-test", MFD_CLOEXEC));
  if (::ftruncate(fd.get(), kMappingBytes) != 0) std::_Exit(1);
  const Result<Mapping> shared = Mapping::shared(fd.get(), kMappingBytes);
  fill(shared->bytes(), kInShared);
  std::abort();
}

std::vector<std::byte> only_file_in(const std::string& folder) {
  std::vector<std::byte> bytes;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    bytes.resize(entry.file_size());
    std::ifstream(entry.path(), std::ios::binary)
        .read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  return bytes;
}

TEST(Mapping, what_is_mapped_is_in_no_core_dump) {
  std::string folder = (std::filesystem::temp_directory_path() / "rram-core-XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const pid_t child = ::fork();
  if (child == 0) fill_memory_and_abort(folder);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  const std::vector<std::byte> core = only_file_in(folder);
  std::filesystem::remove_all(folder);
  ASSERT_TRUE(WIFSIGNALED(status));
  if (core.empty()) GTEST_SKIP() << "this host leaves no core dumps in the working directory";
  EXPECT_TRUE(is_found(core, kInHeap)) << "else this test would find nothing anywhere";
  EXPECT_FALSE(is_found(core, kInAnonymous));
  EXPECT_FALSE(is_found(core, kInShared));
}

}  // namespace
}  // namespace rram::test
