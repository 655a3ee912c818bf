// Operations as one-liners for tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/task.h"
#include "rdma/transport.h"
#include "tests/contract/arena.h"

namespace rram::test {

constexpr std::uint64_t kNsPerMs = 1'000'000;

// `length_bytes` that differ for each seed and do not repeat with any power of two.
inline Bytes pattern(std::size_t length_bytes, std::uint32_t seed) {
  Bytes bytes(length_bytes);
  std::uint32_t state = seed * 2654435761U + 1;
  for (std::byte& byte : bytes) {
    state = state * 1664525U + 1013904223U;
    byte = static_cast<std::byte>(state >> 24U);
  }
  return bytes;
}

// What one Operation is to do.
struct Transfer {
  Operation::Kind kind = Operation::Kind::kRead;
  const RemoteRegion* region = nullptr;
  std::uint64_t offset_bytes = 0;
  std::span<std::byte> local;
  std::uint64_t timeout_ms = 10'000;
};

inline void fill(Operation& operation, const Transfer& transfer, std::uint64_t now_ns) {
  operation.kind = transfer.kind;
  operation.region = transfer.region;
  operation.offset_bytes = transfer.offset_bytes;
  operation.local = transfer.local;
  operation.deadline_ns = now_ns + transfer.timeout_ms * kNsPerMs;
}

// How it ended; nothing: success.
inline Task<std::optional<ErrorCode>> carry_out(EventLoop& loop, Lane& lane, Transfer transfer) {
  Operation operation;
  fill(operation, transfer, loop.now_ns());
  OperationGroup group;
  group.add(operation);
  lane.submit(operation);
  const std::optional<ErrorCode> failure = co_await group;
  co_return failure;
}

// All at once; how each ended.
inline Task<std::vector<std::optional<ErrorCode>>> carry_out_all(EventLoop& loop, Lane& lane,
                                                                 std::vector<Transfer> transfers) {
  std::vector<Operation> operations(transfers.size());
  OperationGroup group;
  for (std::size_t i = 0; i < transfers.size(); ++i) {
    fill(operations[i], transfers[i], loop.now_ns());
    group.add(operations[i]);
    lane.submit(operations[i]);
  }
  [[maybe_unused]] const auto failure = co_await group;
  std::vector<std::optional<ErrorCode>> ends;
  for (const Operation& operation : operations) ends.push_back(operation.failure);
  co_return ends;
}

}  // namespace rram::test
