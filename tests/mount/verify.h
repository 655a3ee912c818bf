#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "tests/mount/world.h"

namespace rram::exerciser {

// All of these throw Mismatch where the file system disagrees with the oracle.

// `got` was read from `offset`; it must be what the oracle holds there.
void expect_bytes(const FileContent& expected, uint64_t offset, std::span<const std::byte> got,
                  const std::string& where);

// S_IFREG and the like, as stat(2) shows it.
uint32_t type_of(const Node& node);

// Size, link count, mode and owner.
void verify_attributes(int fd, const FileModel& expected, const std::string& where);

// Attributes and every byte of a file, read through `fd` (a descriptor without
// O_DIRECT). Of a large sparse file: every page that was written, the pages beside it, the end.
void verify_file(World& world, int fd, const FileModel& expected, const std::string& where);

// Names, kinds and targets of everything below the process's directory.
void verify_names(World& world);

// Every file by name and every open handle, after the page cache gave up their pages.
void verify_everything(World& world);

// Writes a file back and asks the kernel to forget its clean pages.
void drop_cached_pages(int fd);

// A second descriptor for the same file, without O_DIRECT; works for unlinked files too.
OwnedFd reopen_for_reading(int fd);

}  // namespace rram::exerciser
