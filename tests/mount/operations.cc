#include "tests/mount/operations.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "tests/mount/verify.h"

namespace rram::exerciser {

namespace {

constexpr uint64_t kOperationsPerSpaceCheck = 64;

uint32_t total_weight(std::span<const Operation> operations) {
  uint32_t total = 0;
  for (const Operation& operation : operations) total += operation.weight;
  return total;
}

using Group = std::span<const Operation> (*)();
constexpr size_t kGroupsWithData = 2;  // they come first

const Operation& pick_operation(std::span<const Group> groups, uint64_t pick) {
  for (const Group group : groups) {
    for (const Operation& operation : group()) {
      if (pick < operation.weight) return operation;
      pick -= operation.weight;
    }
  }
  return groups.front()().front();
}

void cut_random_file(World& world) {
  Handle* handle = pick_handle(world);
  if (handle == nullptr) return;
  const uint64_t size_bytes = world.chance.below(handle->model->content.size_bytes() / 4 + 1);
  world.note("ftruncate {} to {} (space)", shown(handle->opened_as), size_bytes);
  if (ftruncate(handle->fd.get(), static_cast<off_t>(size_bytes)) != 0) {
    disagree("ftruncate: {}", std::strerror(errno));
  }
  handle->model->content.resize(size_bytes);
}

void keep_below_limit(World& world) {
  constexpr int kTries = 200;
  for (int i = 0; i < kTries && world.stored_bytes() > world.limits.max_total_bytes; ++i) {
    if (world.handles.size() < 4 || world.chance.one_in(3)) open_known_file(world);
    cut_random_file(world);
    if (world.handles.size() > 4) {
      world.handles.erase(world.handles.begin() +
                          static_cast<ptrdiff_t>(world.chance.below(world.handles.size())));
    }
  }
}

}  // namespace

void run_one_operation(World& world) {
  static constexpr std::array<Group, 5> kAll = {file_operations, range_operations, name_operations,
                                                attribute_operations, rare_operations};
  const std::span all(kAll);
  const auto wanted = world.names_only ? all.subspan(kGroupsWithData) : all;
  uint32_t weight_of_all = 0;
  for (const auto& group : wanted) weight_of_all += total_weight(group());

  if (world.operation % kOperationsPerSpaceCheck == 0) keep_below_limit(world);
  while (!pick_operation(wanted, world.chance.below(weight_of_all)).run(world)) {
  }
}

}  // namespace rram::exerciser
