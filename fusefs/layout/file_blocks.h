// The block map of one file: which provider memory holds which bytes, and which of it was written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/result.h"
#include "fusefs/layout/plan.h"
#include "fusefs/layout/slot_map.h"
#include "fusefs/layout/slot_range.h"
#include "fusefs/layout/space.h"

namespace rram {

// Owned by an inode, called under the volume's lock; 40 bytes while the file has one block. The
// file's size is the inode's business. Does no I/O: it makes plans, the caller carries them out
// without the lock, and what came of it is committed here.
//
// Invariants: a written granule has all its bytes defined, and those behind the end of the file are
// zeros; a granule not written reads as zeros. So memory of an earlier owner is never shown.
//
// What may run at the same time on one file (the caller sees to it):
//  - reads: with everything; what they may still touch stays alive in the quarantine;
//  - writes: with each other, except that a write for which write_needs_move() or
//    write_needs_fill() is true, a truncate and a punch each exclude all writes, from before their
//    planning until after their commit.
// The caller's quarantine ticket covers a plan from before it is made until after its commit.
//
// offset + length never passes kMaxFileBytes. Blocks that leave the file are appended to freed and
// are the caller's to retire.
class FileBlocks {
 public:
  // file_start: any number; it says with which provider the file begins (Placement).
  explicit FileBlocks(std::uint32_t file_start = 0) : file_start_(file_start) {}

  // Replaces the plan. The range may lie behind the end of the file: holes.
  void plan_read(std::uint64_t offset, std::uint64_t length, const Space& space,
                 ReadPlan& plan) const;

  // Whether a write now would have to copy an existing block to a larger one.
  bool write_needs_move(std::uint64_t offset, std::uint64_t length, const Space& space) const;
  // Whether it begins or ends inside a never-written granule.
  bool write_needs_fill(std::uint64_t offset, std::uint64_t length, const Space& space) const;
  // How many bytes from offset on could be written now; length if all. plan_write succeeds for as
  // many, and fails for more.
  std::uint64_t placeable_bytes(std::uint64_t offset, std::uint64_t length,
                                const Space& space) const;

  // What plan_write would have to find: granules of the range that have no memory.
  std::uint64_t missing_granules(std::uint64_t offset, std::uint64_t length,
                                 const Geometry& geometry) const;

  // Replaces the plan. Gives the range memory at once, not yet written. kNoSpace, with nothing
  // changed: fewer granules are free than the range lacks. Without commit_write and the pieces it
  // is a preallocation.
  Status plan_write(std::uint64_t offset, std::uint64_t length, Space& space, WritePlan& plan);
  // After the plan's copies: swaps the new blocks in; the old ones are freed. If a slot has changed
  // since the plan, its new block is freed instead.
  void commit_moves(WritePlan& plan, BlockList& freed);
  // After the plan's pieces and fills: the granules become readable, but only where they still have
  // the memory that was planned.
  void commit_write(const WritePlan& plan, const Space& space);
  // For a plan whose I/O failed: gives back what only the plan knows, that is the new blocks of
  // moves not committed. Nothing may still be copying into them.
  static void abandon(WritePlan& plan, Space& space);

  // The bytes behind new_size in the last granule kept, if it is written: to be overwritten with
  // zeros before truncate(). A write that failed half way may have left such bytes behind the end
  // of the file without extending it: then also before the file grows, or right after the failure.
  std::optional<Piece> truncate_tail(std::uint64_t new_size, const Space& space) const;
  // False: about `max_blocks` blocks were freed and more are left; call again, before anything else
  // that changes the file.
  bool truncate(std::uint64_t new_size, const Geometry& geometry, BlockList& freed,
                std::size_t max_blocks = SIZE_MAX);

  // The written bytes of the range that punch() leaves because their granule is only partly in the
  // range: at most two pieces, to be overwritten with zeros first.
  void punch_edges(std::uint64_t offset, std::uint64_t length, const Space& space,
                   Pieces& zeros) const;
  // The whole granules of the range read as zeros afterwards. Memory is given back where a block,
  // or the upper half of what is left of it, lies in the range. The answer is the offset up to
  // which that is done: the end of the range, or less where about `max_blocks` blocks were freed
  // before.
  std::uint64_t punch(std::uint64_t offset, std::uint64_t length, const Geometry& geometry,
                      BlockList& freed, std::size_t max_blocks = SIZE_MAX);

  // SEEK_DATA and SEEK_HOLE in whole granules: the first byte >= offset that is data (nullopt: none
  // below size) or a hole (size if none). offset < size.
  std::optional<std::uint64_t> next_data(std::uint64_t offset, std::uint64_t size,
                                         const Geometry& geometry) const;
  std::uint64_t next_hole(std::uint64_t offset, std::uint64_t size, const Geometry& geometry) const;

  std::uint64_t allocated_bytes(const Geometry& geometry) const {
    return geometry.granules_to_bytes(allocated_granules_);
  }
  // An estimate of the heap that the map takes; constant time.
  std::uint64_t memory_bytes() const { return slots_.memory_bytes(); }
  void clear(const Geometry& geometry, BlockList& freed) { truncate(0, geometry, freed); }

  // fn(slot, first granule in the slot, block, written), in the order of the file. Bit n of
  // written: the block's granule n.
  template <typename Fn>
  void for_each_block(Fn&& fn) const;

 private:
  Backing backing_of(std::uint64_t slot) const;
  std::uint64_t written_of(std::uint64_t slot) const;
  bool is_written(std::uint64_t offset, const Geometry& geometry) const;
  std::uint64_t drop_range(std::uint64_t begin, std::uint64_t end, const Geometry& geometry,
                           BlockList& freed, std::size_t max_blocks);
  bool drop_granules(std::uint64_t slot, Slot& entry, unsigned begin, unsigned end,
                     BlockList& freed);

  // file_blocks_write.cc
  unsigned missing_granules(const SlotRange& range) const;
  std::uint64_t grow_slots(std::uint64_t offset, std::uint64_t length, std::uint64_t missing,
                           Space& space);
  void back_slot(const SlotRange& range, std::uint64_t missing_later, Space& space,
                 WritePlan& plan);
  void back_with_block(const SlotRange& range, Block block, const Space& space, WritePlan& plan);
  void back_with_granules(const SlotRange& range, Space& space);
  Backing backing_of(std::uint64_t slot, const WritePlan& plan) const;
  void plan_copies(const Move& move, const Space& space, WritePlan& plan) const;
  void plan_pieces(std::uint64_t offset, std::uint64_t length, const Space& space,
                   WritePlan& plan) const;
  void plan_fill(std::uint64_t begin, std::uint64_t end, const Space& space, WritePlan& plan) const;
  void set_written(const Piece& piece, const Space& space);

  SlotMap slots_;
  std::uint64_t allocated_granules_ = 0;
  std::uint32_t file_start_;
};

static_assert(sizeof(void*) != 8 || sizeof(FileBlocks) <= 40);

// For MemoryCount.
inline std::uint64_t memory_bytes(const FileBlocks& blocks) { return blocks.memory_bytes(); }

template <typename Fn>
void FileBlocks::for_each_block(Fn&& fn) const {
  slots_.for_each_from(0, [&](std::uint64_t slot, const Slot& entry) {
    if (!entry.is_split()) {
      fn(slot, 0U, entry.block, entry.written);
      return;
    }
    const SplitGranules& granules = *slots_.find_split(slot);
    for (unsigned g = 0; g < granules.size(); ++g) {
      if (!granules[g].is_none()) {
        fn(slot, g, granules[g], entry.written >> g & 1U);
      }
    }
  });
}

}  // namespace rram
