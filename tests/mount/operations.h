#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "tests/mount/world.h"

namespace rram::exerciser {

// One kind of step of the exerciser: does something to the file system and to the oracle alike,
// and compares. Returns false when there was nothing to do it to; throws Mismatch.
struct Operation {
  std::string_view name;
  uint32_t weight;
  bool (*run)(World&);
};

std::span<const Operation> file_operations();       // bytes of open files
std::span<const Operation> range_operations();      // mmap, fallocate, seek, copy, splice
std::span<const Operation> name_operations();       // directories, links, special files
std::span<const Operation> attribute_operations();  // modes, owners, times, lists, who may what
std::span<const Operation> rare_operations();       // special and unnamed files, positions, statfs

// Shared by them. An open file at random, or null when none is open.
Handle* pick_handle(World& world);
// A length that is mostly small and sometimes up to 1 MiB, at least 1.
uint64_t pick_length(World& world);
// Opens a random known file and keeps the handle; false when there is no file.
bool open_known_file(World& world);
// Makes room for one more handle, then keeps it.
void keep_handle(World& world, Handle handle);

// A path whose parent exists; the path itself may exist or not.
std::string pick_path(World& world);
bool has_room_for_file(const World& world);
// What a new file is, made by this process.
std::shared_ptr<FileModel> new_file_model();
// A name at random, or an empty one when there is none.
std::string pick_existing(World& world);
std::string pick_of_kind(World& world, NodeKind kind);
// Takes a name out of the oracle; its file lives on while it is open or has others.
void forget_name(World& world, const std::string& path);
// Compares what a call answered (0, or -1 with errno) with what it had to answer (0 or an errno).
void expect_error(const char* call, const std::string& path, int result, int expected);

// The step the exerciser takes next; space over the limit makes it a step that frees some.
void run_one_operation(World& world);

}  // namespace rram::exerciser
