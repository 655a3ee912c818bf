// The data path without the kernel: volume, plans, links and lanes of two workers over pools inside
// the process.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "fusefs/file_io.h"
#include "fusefs/mounted_provider.h"
#include "rdma/connector.h"

namespace rram::test {

inline constexpr std::uint64_t kPoolBytes = std::uint64_t{8} << 20;
inline constexpr unsigned kProviders = 2;
inline constexpr unsigned kWorkers = 2;
inline constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

// A kernel that has nothing in its caches, unless a test says what it writes back when asked.
class TestCaches final : public KernelCaches {
 public:
  struct Range {
    std::uint64_t offset;
    std::uint64_t length;
    bool operator==(const Range&) const = default;
  };

  Task<> drain_forgets(Worker& /*worker*/) override { co_return; }
  Task<bool> write_back(Worker& worker, Ino ino, std::uint64_t offset,
                        std::uint64_t length) override {
    if (is_crowded) co_return false;
    asked.push_back({offset, length});
    if (dirty) co_await dirty(worker, ino);
    co_return true;
  }

  std::vector<Range> asked;
  std::function<Task<>(Worker&, Ino)> dirty;
  bool is_crowded = false;
};

inline Task<Status> open_links(Worker& worker) {
  for (const std::unique_ptr<ProviderLink>& link : worker.links()) {
    Status opened = co_await link->open();
    if (!opened) co_return opened;
  }
  co_return Status{};
}

inline Task<bool> close_worker(Worker& worker) {
  co_await worker.running().close();
  for (const std::unique_ptr<ProviderLink>& link : worker.links()) co_await link->close();
  worker.links().clear();
  co_return true;
}

inline Task<bool> release(MountedProvider& provider) {
  co_await provider.release();
  co_return true;
}

// Everything of a mount but the kernel.
class FileIoTest : public testing::Test {
 protected:
  void SetUp() override {
    const Geometry geometry = *Geometry::make(kDefaultStripeUnitBytes);
    volume_ = std::make_unique<Volume>(geometry, limits_, RootAttributes{});
    for (unsigned i = 0; i < kWorkers; ++i) {
      auto worker = Worker::start({.index = i,
                                   .front_arena_bytes = 4 * kBufferBytes,
                                   .stripe_unit_bytes = geometry.stripe_unit_bytes(),
                                   .granule_bytes = geometry.granule_bytes()});
      ASSERT_TRUE(worker.has_value()) << worker.error().message;
      workers_.push_back(std::move(*worker));
    }
    EventLoop& loop = workers_[0]->loop();
    for (unsigned i = 0; i < kProviders; ++i) {
      const Endpoint endpoint = *parse_endpoint(fmt::format("local:{}", kPoolBytes));
      auto connected = workers_[0]->run_blocking<Result<ConnectedLease>>(
          [&] { return connect_lease(loop, endpoint, LeaseOptions{}); });
      ASSERT_TRUE(connected.has_value()) << connected.error().message;
      const std::vector<RemoteRegion>& regions = connected->lease->regions();
      ASSERT_TRUE(volume_->add_lease(i, regions.front().length_bytes, regions.size()));
      providers_.push_back(
          std::make_unique<MountedProvider>(loop, *volume_, i, std::move(connected->lease), 1000));
    }
    for (const auto& worker : workers_) {
      for (const auto& provider : providers_) {
        worker->links().push_back(
            std::make_unique<ProviderLink>(worker->loop(), *provider, 1, worker->arena()));
      }
      ASSERT_TRUE(worker->run_blocking<Status>([&] { return open_links(*worker); }));
    }
  }

  void TearDown() override {
    for (const auto& worker : workers_) {
      worker->run_blocking<bool>([&] { return close_worker(*worker); });
    }
    for (const auto& provider : providers_) {
      workers_[0]->run_blocking<bool>([&] { return release(*provider); });
    }
  }

  FileIo io(unsigned worker) {
    return {*volume_, *workers_[worker], caches_, request_deadline_ns_};
  }

  Ino make_file(const std::string& name) {
    const Result<FileStat> file =
        volume_->create(Create{.parent = kRootIno, .name = name, .mode = S_IFREG | 0600});
    EXPECT_TRUE(file.has_value());
    return file->attributes.ino;
  }

  std::span<std::byte> buffer(unsigned worker, std::size_t size_bytes) {
    return workers_[worker]->front_arena().first(size_bytes);
  }

  Result<std::size_t> write(unsigned worker, Ino ino, std::uint64_t offset,
                            std::span<const std::byte> data, bool may_be_short = false) {
    const std::span<std::byte> room = buffer(worker, data.size());
    return workers_[worker]->run_blocking<Result<std::size_t>>([&] {
      std::ranges::copy(data, room.begin());
      return write_file(io(worker), ino, offset, room, may_be_short, Timestamp{1, 0});
    });
  }

  Result<std::vector<std::byte>> read(unsigned worker, Ino ino, std::uint64_t offset,
                                      std::size_t size_bytes) {
    const std::span<std::byte> room = buffer(worker, size_bytes);
    const auto read_bytes = workers_[worker]->run_blocking<Result<std::size_t>>([&] {
      std::memset(room.data(), 0xEE, room.size());
      return read_file(io(worker), ino, offset, room, std::nullopt);
    });
    if (!read_bytes) return std::unexpected(read_bytes.error());
    return std::vector<std::byte>(room.begin(),
                                  room.begin() + static_cast<std::ptrdiff_t>(*read_bytes));
  }

  Status truncate(unsigned worker, Ino ino, std::uint64_t size_bytes) {
    const auto file = workers_[worker]->run_blocking<Result<FileStat>>([&] {
      return truncate_file(io(worker), SetAttributes{.ino = ino, .size_bytes = size_bytes});
    });
    if (!file) return std::unexpected(file.error());
    return {};
  }

  void remove(const std::string& name, Ino ino) {
    ASSERT_TRUE(volume_->change(Unlink{kRootIno, name, {}}).has_value());
    volume_->forget(ino, 1);
  }

  NamespaceLimits limits_;
  std::uint64_t request_deadline_ns_ = std::numeric_limits<std::uint64_t>::max();
  TestCaches caches_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Volume> volume_;
  std::vector<std::unique_ptr<MountedProvider>> providers_;
};

inline std::vector<std::byte> pattern(std::mt19937& random, std::size_t size_bytes) {
  std::vector<std::byte> bytes(size_bytes);
  const auto first = static_cast<unsigned>(random());
  for (std::size_t i = 0; i < size_bytes; ++i) {
    bytes[i] = static_cast<std::byte>(first + i * 7 + 1);
  }
  return bytes;
}

}  // namespace rram::test
