#pragma once

#include <cstdint>
#include <span>
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

std::span<const Operation> file_operations();   // bytes of open files
std::span<const Operation> range_operations();  // mmap, fallocate, seek, copy
std::span<const Operation> name_operations();   // directories, links, attributes

// Shared by the three. An open file at random, or null when none is open.
Handle* pick_handle(World& world);
// A length that is mostly small and sometimes up to 1 MiB, at least 1.
uint64_t pick_length(World& world);
// Opens a random known file and keeps the handle; false when there is no file.
bool open_known_file(World& world);

// The step the exerciser takes next; space over the limit makes it a step that frees some.
void run_one_operation(World& world);

}  // namespace rram::exerciser
