// The volume: namespace, block maps, space and quarantine of one mount, under one lock.
//
// Everything here is computing: no I/O, no clock, no FUSE. A change of data takes two calls with
// the I/O between them: begin_*() plans under the lock, the caller moves the bytes without it,
// end_*() commits. What a plan names stays valid until then, because its ticket keeps freed blocks
// in the quarantine.
//
// Threads: every function may be called from any worker. One mutex guards all; it is a leaf lock,
// held for computing alone: never over I/O, a suspension, a reply or a callback into a transport.
// What grows with the size of a file (allocating, cutting, deleting) is done in steps of at most
// kSlotsPerHold slots or about kBlocksPerHold blocks, each under a hold of its own.
#pragma once

#include <atomic>
#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "fusefs/file_gates.h"
#include "fusefs/layout/file_blocks.h"
#include "fusefs/layout/geometry.h"
#include "fusefs/layout/plan.h"
#include "fusefs/layout/quarantine.h"
#include "fusefs/layout/space.h"
#include "fusefs/namespace/namespace.h"

namespace rram {

struct FileStat {
  Attributes attributes;
  std::uint64_t allocated_bytes = 0;
};

struct VolumeFigures {
  std::uint64_t total_bytes = 0;    // all leases
  std::uint64_t free_bytes = 0;     // what can still be written
  std::uint64_t granule_bytes = 0;  // the smallest block
  NamespaceUsage inodes;
};

// What stands behind an offset of a file: SEEK_DATA and SEEK_HOLE.
struct FileMap {
  std::uint64_t size_bytes = 0;
  std::optional<std::uint64_t> next_data;  // nothing: no data follows
  std::uint64_t next_hole = 0;             // the size, or the offset itself behind it, if none
};

// Whether space that is not free now may be so before long, without anybody deleting anything more.
enum class SpaceComing : std::uint8_t {
  kNone,
  kAtOnce,   // what nobody uses is being freed, a step with every look
  kAfterIo,  // whoever still reads or writes, or has reserved what cannot be had, must end first
};

// The right of a begun read or write to its blocks; from begin_*() to end_*().
using IoTicket = Quarantine::Ticket;

// How much one call does of what may be any amount; about a tenth of a millisecond.
inline constexpr std::uint64_t kSlotsPerHold = 1024;
inline constexpr std::size_t kBlocksPerHold = 1024;

class SpaceReservation;

class Volume {
 public:
  // Of limits.max_memory_bytes, which the block maps of files count against too, names leave a part
  // to the maps: what exists can be written when no more can be made. Maps of what was deleted keep
  // nobody from making names.
  Volume(const Geometry& geometry, const NamespaceLimits& limits, const RootAttributes& root);
  ~Volume();
  Volume(const Volume&) = delete;
  Volume& operator=(const Volume&) = delete;

  [[nodiscard]] const Geometry& geometry() const { return geometry_; }

  // --- Providers ---------------------------------------------------------------------------------

  // As Space::add_lease().
  Status add_lease(unsigned provider, std::uint64_t region_bytes, std::uint64_t region_count);
  // A provider that cannot be reached gets no new blocks.
  void set_usable(unsigned provider, bool is_usable);

  // --- Names -------------------------------------------------------------------------------------

  // Each of these counts one lookup of the kernel's for the inode that it answers.
  Result<FileStat> lookup(Ino parent, std::string_view name);
  Result<FileStat> create(const Create& create);
  Result<FileStat> create(const CreateUnnamed& create);
  Result<FileStat> link(const Link& link);

  // Any change that needs no more than the namespace: Unlink, RemoveDirectory, Rename,
  // SetAttributes without a size, Touch, SetXattr, RemoveXattr. Frees the blocks of what it
  // destroys.
  Result<FileStat> change(const Record& record);

  Result<FileStat> stat(Ino ino);
  // The same without what the file's blocks occupy.
  Result<Attributes> attributes(Ino ino);
  // True: blocks of what was deleted are left for drop_deleted(), and no earlier answer said so.
  bool forget(Ino ino, std::uint64_t count);
  // A step of freeing the blocks of what was deleted. False: nothing is left to be done. Calls that
  // free or look for space take such a step, too.
  bool drop_deleted();
  // An access at that instant sets the access time as relatime has it: where it is not newer than
  // the last change, or is a day old.
  Result<std::string> read_symlink(Ino ino, std::optional<Timestamp> accessed_at);

  // Whether READDIRPLUS tells the kernel of the inode of an entry, with its attributes. Not where a
  // name may go while others stay: the kernel takes one off its own count of links when UNLINK is
  // answered, and would take it off twice where a listing made after the unlinking came before
  // that answer. The count would be wrong for good, 0 for a file that is there. It looks such names
  // up one by one.
  static bool tells_of_inode(const DirectoryItem& item) { return !item.attributes.was_linked; }
  // `visit` is called under the lock and must only compute. True from `visit` with
  // `counts_lookups`: the kernel has been told of the inode, if it is told of such (not of "." and
  // "..").
  using EntryVisitor = std::function<bool(const DirectoryItem&, const FileStat&)>;
  Status read_directory(Ino ino, std::uint64_t after_cookie, bool counts_lookups,
                        std::optional<Timestamp> accessed_at, const EntryVisitor& visit);

  // The value; or the list of names, each ended by a NUL; trusted.* only if asked for.
  Result<std::string> xattr(Ino ino, std::string_view name);
  Result<std::string> xattr_names(Ino ino, bool with_trusted);

  VolumeFigures figures();
  SpaceComing space_coming();

  // --- Data --------------------------------------------------------------------------------------

  // A read of what exists: the plan covers min(length, size - offset) bytes, which is the answer (0
  // at the end of the file, with no ticket).
  struct ReadStart {
    std::uint64_t length_bytes = 0;
    std::optional<IoTicket> ticket;
  };
  Result<ReadStart> begin_read(Ino ino, std::uint64_t offset, std::uint64_t length,
                               std::optional<Timestamp> accessed_at, ReadPlan& plan);
  void end_read(IoTicket ticket);
  Result<FileMap> map_at(Ino ino, std::uint64_t offset);

  // A write. The caller has entered the file's gate with `mode`; where the write needs to be alone
  // and `mode` is shared, the answer has no ticket: leave, enter exclusively, ask again. kNoSpace:
  // nothing has changed; placeable_bytes() says how much could be written.
  struct WriteStart {
    std::optional<IoTicket> ticket;
  };
  Result<WriteStart> begin_write(Ino ino, std::uint64_t offset, std::uint64_t length, GateMode mode,
                                 WritePlan& plan);
  // After the plan's copies.
  void commit_moves(Ino ino, WritePlan& plan);
  // After the plan's fills and pieces: the bytes are part of the file, which is now at least
  // `end_offset` long.
  Status commit_write(Ino ino, const WritePlan& plan, std::uint64_t end_offset, Timestamp now);
  // The I/O failed after it had begun: some of the bytes may stand in memory that was written
  // before, and behind the end of the file where nothing must stand. Until tail_is_clean() they are
  // dealt with before the file grows: begin_write() answers a shared writer as if it had to be
  // alone.
  void note_failed_write(Ino ino);
  // Writes that were answered with an error, of all files. Any thread.
  void count_failed_write() { failed_writes_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t failed_writes() const {
    return failed_writes_.load(std::memory_order_relaxed);
  }
  // What must be overwritten with zeros before the file may grow, if a write has failed; the caller
  // is alone (exclusive gate). After that, tail_is_clean().
  std::optional<Piece> unclean_tail(Ino ino);
  void tail_is_clean(Ino ino);
  // In any case, at last.
  void end_write(WritePlan& plan, IoTicket ticket);
  std::uint64_t placeable_bytes(Ino ino, std::uint64_t offset, std::uint64_t length);

  // Truncation (exclusive gate): what must be overwritten with zeros first, then the change itself,
  // with the size in `change`, which all see at once; then the blocks behind it, step by step until
  // the answer is false.
  Result<std::optional<Piece>> truncate_tail(Ino ino, std::uint64_t new_size);
  Status truncate(const SetAttributes& change);
  bool drop_behind(Ino ino, std::uint64_t size_bytes);

  // A hole (exclusive gate): the edges to be overwritten with zeros first, then the hole itself in
  // steps. The answer is the offset up to which it is punched.
  Status punch_edges(Ino ino, std::uint64_t offset, std::uint64_t length, Pieces& zeros);
  Result<std::uint64_t> punch(Ino ino, std::uint64_t offset, std::uint64_t length, Timestamp now);

  // Space without data (exclusive gate), in steps of step_bytes(). First missing_bytes() of each
  // step; their sum is reserved, or nothing has changed (errors as begin_write()); then
  // begin_allocation() of each step, which fails only where a provider or the file has gone or the
  // memory for block maps has come to its end meanwhile; and then commit_moves() and end_write() as
  // for a write.
  [[nodiscard]] std::uint64_t step_bytes(std::uint64_t offset, std::uint64_t length) const;
  Result<std::uint64_t> missing_bytes(Ino ino, std::uint64_t offset, std::uint64_t length);
  Result<SpaceReservation> reserve(std::uint64_t bytes);
  Result<IoTicket> begin_allocation(Ino ino, std::uint64_t offset, std::uint64_t length,
                                    SpaceReservation& reservation, WritePlan& plan);

  // A ticket for I/O that has no plan of its own (zeros before a truncation).
  IoTicket begin_io();

  // --- Gates -------------------------------------------------------------------------------------

  bool try_enter(Ino ino, GateMode mode);
  bool enter_or_queue(Ino ino, GateMode mode, GateWaiter& waiter);
  // Those who entered by this are appended to `admitted`, to be woken without the lock.
  void leave(Ino ino, GateMode mode, std::vector<GateWaiter*>& admitted);

 private:
  friend class SpaceReservation;
  void unreserve(std::uint64_t granules);

  // All under mutex_.
  FileStat stat_of(const Attributes& attributes) const;
  void count_maps();
  bool is_memory_full();
  Result<FileStat> apply_and_count_lookup(const Record& record);
  Result<FileStat> apply(const Record& record);
  Result<Attributes> regular_file(Ino ino) const;
  Status check_range(Ino ino, std::uint64_t offset, std::uint64_t length) const;
  Result<IoTicket> plan_write(FileBlocks& blocks, std::uint64_t offset, std::uint64_t length,
                              WritePlan& plan);
  [[nodiscard]] std::unexpected<Error> no_space() const;
  void note_access(const Attributes& attributes, std::optional<Timestamp> accessed_at);
  FileBlocks& blocks_of(Ino ino);
  const FileBlocks* find_blocks(Ino ino) const;
  void destroy(Ino ino);
  void drop_step();
  std::size_t drop_front(std::size_t max_blocks);
  void retire(const BlockList& freed);
  void free_safe_blocks();

  const Geometry geometry_;
  const std::uint64_t max_file_bytes_;
  const std::uint64_t max_memory_bytes_;
  std::mutex mutex_;  // leaf; guards everything below
  Namespace namespace_;
  Space space_;
  Quarantine quarantine_;
  FileGates gates_;
  boost::unordered_flat_map<Ino, FileBlocks> blocks_;  // files that have had blocks
  std::deque<FileBlocks> deleted_;                     // what drop_step() has not come to yet
  std::uint64_t deleted_bytes_ = 0;                    // that these occupy
  std::uint64_t map_bytes_ = 0;                        // heap of blocks_
  std::uint64_t deleted_map_bytes_ = 0;                // heap of deleted_
  boost::unordered_flat_set<Ino> unclean_tails_;       // after a write that failed half way
  std::atomic<std::uint64_t> failed_writes_{0};
  std::uint32_t next_file_start_ = 0;
  std::vector<Block> safe_blocks_;  // scratch of free_safe_blocks()
};

// Space that is kept for one allocation (Volume::reserve()); what is not used comes back with the
// end of this.
class SpaceReservation {
 public:
  SpaceReservation(Volume& volume, std::uint64_t granules)
      : volume_(&volume), granules_(granules) {}
  SpaceReservation(SpaceReservation&& other) noexcept
      : volume_(other.volume_), granules_(std::exchange(other.granules_, 0)) {}
  SpaceReservation& operator=(SpaceReservation&&) = delete;
  SpaceReservation(const SpaceReservation&) = delete;
  SpaceReservation& operator=(const SpaceReservation&) = delete;
  ~SpaceReservation() {
    if (granules_ != 0) volume_->unreserve(granules_);
  }

 private:
  friend class Volume;
  Volume* volume_;
  std::uint64_t granules_;
};

}  // namespace rram
