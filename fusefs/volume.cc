#include "fusefs/volume.h"

#include <algorithm>
#include <utility>

#include "base/range_check.h"
#include "fusefs/heap_cost.h"

namespace rram {

namespace {

constexpr std::uint64_t kMapShare = 8;

NamespaceLimits without_share_of_maps(NamespaceLimits limits) {
  limits.max_memory_bytes -= limits.max_memory_bytes / kMapShare;
  return limits;
}

}  // namespace

Volume::Volume(const Geometry& geometry, const NamespaceLimits& limits, const RootAttributes& root)
    : geometry_(geometry),
      max_file_bytes_(limits.max_file_bytes),
      max_memory_bytes_(limits.max_memory_bytes),
      namespace_(without_share_of_maps(limits), root, /*generation=*/1),
      space_(geometry),
      quarantine_(geometry) {}

Volume::~Volume() = default;

Status Volume::add_lease(unsigned provider, std::uint64_t region_bytes,
                         std::uint64_t region_count) {
  const std::lock_guard lock(mutex_);
  return space_.add_lease(provider, region_bytes, region_count);
}

void Volume::set_usable(unsigned provider, bool is_usable) {
  const std::lock_guard lock(mutex_);
  space_.set_usable(provider, is_usable);
}

// --- Names ---------------------------------------------------------------------------------------

FileStat Volume::stat_of(const Attributes& attributes) const {
  const FileBlocks* blocks = find_blocks(attributes.ino);
  return {attributes, blocks == nullptr ? 0 : blocks->allocated_bytes(geometry_)};
}

void Volume::count_maps() { namespace_.set_bytes_besides(map_bytes_ + flat_table_bytes(blocks_)); }

bool Volume::is_memory_full() {
  count_maps();
  return namespace_.usage().memory_bytes + deleted_map_bytes_ >= max_memory_bytes_;
}

Result<FileStat> Volume::apply(const Record& record) {
  count_maps();
  Result<Outcome> outcome = namespace_.apply(record);
  if (!outcome) return std::unexpected(std::move(outcome.error()));
  const FileStat stat = stat_of(outcome->attributes);
  if (outcome->destroyed) destroy(*outcome->destroyed);
  return stat;
}

Result<FileStat> Volume::apply_and_count_lookup(const Record& record) {
  Result<FileStat> stat = apply(record);
  if (!stat) return stat;
  if (Status counted = namespace_.add_lookup(stat->attributes.ino); !counted) {
    return std::unexpected(counted.error());
  }
  return stat;
}

Result<FileStat> Volume::lookup(Ino parent, std::string_view name) {
  const std::lock_guard lock(mutex_);
  // The kernel looks "." up in what a file handle names (open_by_handle_at), a directory or not.
  Result<Attributes> found =
      name == "." ? namespace_.attributes(parent) : namespace_.lookup(parent, name);
  if (!found) return std::unexpected(std::move(found.error()));
  if (Status counted = namespace_.add_lookup(found->ino); !counted) {
    return std::unexpected(counted.error());
  }
  return stat_of(*found);
}

Result<FileStat> Volume::create(const Create& create) {
  const std::lock_guard lock(mutex_);
  return apply_and_count_lookup(create);
}

Result<FileStat> Volume::create(const CreateUnnamed& create) {
  const std::lock_guard lock(mutex_);
  return apply(create);  // its lookup is part of the record
}

Result<FileStat> Volume::link(const Link& link) {
  const std::lock_guard lock(mutex_);
  return apply_and_count_lookup(link);
}

Result<FileStat> Volume::change(const Record& record) {
  const std::lock_guard lock(mutex_);
  return apply(record);
}

Result<FileStat> Volume::stat(Ino ino) {
  const std::lock_guard lock(mutex_);
  Result<Attributes> attributes = namespace_.attributes(ino);
  if (!attributes) return std::unexpected(std::move(attributes.error()));
  return stat_of(*attributes);
}

Result<Attributes> Volume::attributes(Ino ino) {
  const std::lock_guard lock(mutex_);
  return namespace_.attributes(ino);
}

bool Volume::forget(Ino ino, std::uint64_t count) {
  const std::lock_guard lock(mutex_);
  const bool was_idle = deleted_.empty();
  if (const std::optional<Ino> destroyed = namespace_.forget(ino, count)) destroy(*destroyed);
  return was_idle && !deleted_.empty();
}

void Volume::note_access(const Attributes& attributes, std::optional<Timestamp> accessed_at) {
  if (!accessed_at) return;
  constexpr std::int64_t kDayS = 24 * 60 * 60;
  const Timestamp& before = attributes.atime;
  const bool is_stale = before <= attributes.mtime || before <= attributes.ctime ||
                        accessed_at->seconds - before.seconds >= kDayS;
  if (!is_stale) return;
  [[maybe_unused]] const Result<Outcome> touched =
      namespace_.apply(Touch{.ino = attributes.ino, .atime = true, .at = *accessed_at});
}

Result<std::string> Volume::read_symlink(Ino ino, std::optional<Timestamp> accessed_at) {
  const std::lock_guard lock(mutex_);
  Result<std::string_view> target = namespace_.read_symlink(ino);
  if (!target) return std::unexpected(std::move(target.error()));
  note_access(*namespace_.attributes(ino), accessed_at);
  return std::string(*target);
}

Status Volume::read_directory(Ino ino, std::uint64_t after_cookie, bool counts_lookups,
                              std::optional<Timestamp> accessed_at, const EntryVisitor& visit) {
  const std::lock_guard lock(mutex_);
  const Result<Attributes> directory = namespace_.attributes(ino);
  if (directory) note_access(*directory, accessed_at);
  return namespace_.read_directory(ino, after_cookie, [&](const DirectoryItem& item) {
    if (!visit(item, stat_of(item.attributes))) return false;
    const bool is_dot = item.name == "." || item.name == "..";
    if (counts_lookups && !is_dot && tells_of_inode(item)) {
      [[maybe_unused]] const Status counted = namespace_.add_lookup(item.attributes.ino);
    }
    return true;
  });
}

Result<std::string> Volume::xattr(Ino ino, std::string_view name) {
  const std::lock_guard lock(mutex_);
  Result<std::string_view> value = namespace_.xattr(ino, name);
  if (!value) return std::unexpected(std::move(value.error()));
  return std::string(*value);
}

Result<std::string> Volume::xattr_names(Ino ino, bool with_trusted) {
  const std::lock_guard lock(mutex_);
  std::string names;
  const Status listed = namespace_.list_xattrs(ino, [&](std::string_view name) {
    if (!with_trusted && name.starts_with("trusted.")) return;
    names += name;
    names += '\0';
  });
  if (!listed) return std::unexpected(listed.error());
  return names;
}

VolumeFigures Volume::figures() {
  const std::lock_guard lock(mutex_);
  free_safe_blocks();
  count_maps();
  // What lay on a provider that is gone does not come back, and how much it is shows when it is
  // freed.
  const std::uint64_t coming_bytes =
      space_.has_unusable_provider() ? 0 : quarantine_.held_bytes() + deleted_bytes_;
  return {space_.total_bytes(), space_.free_bytes() + coming_bytes, geometry_.granule_bytes(),
          namespace_.usage()};
}

SpaceComing Volume::space_coming() {
  const std::lock_guard lock(mutex_);
  free_safe_blocks();
  // Only the maps of what is deleted come back to the memory.
  if (is_memory_full()) return deleted_.empty() ? SpaceComing::kNone : SpaceComing::kAtOnce;
  if (!deleted_.empty() || quarantine_.has_safe_blocks()) return SpaceComing::kAtOnce;
  const bool is_held = quarantine_.held_bytes() > 0 || space_.is_overbooked();
  return is_held ? SpaceComing::kAfterIo : SpaceComing::kNone;
}

// --- Blocks --------------------------------------------------------------------------------------

FileBlocks& Volume::blocks_of(Ino ino) {
  const auto [entry, is_new] = blocks_.try_emplace(ino, next_file_start_);
  if (is_new) ++next_file_start_;
  return entry->second;
}

const FileBlocks* Volume::find_blocks(Ino ino) const {
  const auto found = blocks_.find(ino);
  return found == blocks_.end() ? nullptr : &found->second;
}

void Volume::destroy(Ino ino) {
  unclean_tails_.erase(ino);
  const auto found = blocks_.find(ino);
  if (found == blocks_.end()) return;
  deleted_bytes_ += found->second.allocated_bytes(geometry_);
  const std::uint64_t map_bytes = memory_bytes(found->second);
  map_bytes_ -= map_bytes;
  deleted_map_bytes_ += map_bytes;
  deleted_.push_back(std::move(found->second));
  blocks_.erase(found);
  shrink_if_sparse(blocks_);
  free_safe_blocks();
}

// A file counts as one block more: there may be any number that have none.
void Volume::drop_step() {
  std::size_t left = kBlocksPerHold;
  while (left > 0 && !deleted_.empty()) left -= std::min(left, drop_front(left) + 1);
}

// The answer is how many blocks were freed.
std::size_t Volume::drop_front(std::size_t max_blocks) {
  FileBlocks& file = deleted_.front();
  const std::uint64_t before_bytes = file.allocated_bytes(geometry_);
  BlockList freed;
  const bool is_done = [&] {
    const MemoryCount count(deleted_map_bytes_, file);
    return file.truncate(0, geometry_, freed, max_blocks);
  }();
  deleted_bytes_ -= before_bytes - file.allocated_bytes(geometry_);
  if (is_done) {
    deleted_map_bytes_ -= memory_bytes(file);
    deleted_.pop_front();
  }
  for (const Block& block : freed) quarantine_.retire(block);
  return freed.size();
}

bool Volume::drop_deleted() {
  const std::lock_guard lock(mutex_);
  free_safe_blocks();
  return !deleted_.empty();
}

void Volume::retire(const BlockList& freed) {
  for (const Block& block : freed) quarantine_.retire(block);
  free_safe_blocks();
}

void Volume::free_safe_blocks() {
  drop_step();
  if (!quarantine_.has_safe_blocks()) return;
  safe_blocks_.clear();
  quarantine_.collect(safe_blocks_, kBlocksPerHold);
  for (const Block& block : safe_blocks_) space_.free(block);
}

Result<Attributes> Volume::regular_file(Ino ino) const {
  Result<Attributes> attributes = namespace_.attributes(ino);
  if (attributes && !is_regular(attributes->mode)) {
    return fail(is_directory(attributes->mode) ? ErrorCode::kIsDirectory
                                               : ErrorCode::kInvalidArgument);
  }
  return attributes;
}

IoTicket Volume::begin_io() {
  const std::lock_guard lock(mutex_);
  return quarantine_.begin_io();
}

// --- Reading -------------------------------------------------------------------------------------

Result<Volume::ReadStart> Volume::begin_read(Ino ino, std::uint64_t offset, std::uint64_t length,
                                             std::optional<Timestamp> accessed_at, ReadPlan& plan) {
  const std::lock_guard lock(mutex_);
  const Result<Attributes> file = regular_file(ino);
  if (!file) return std::unexpected(file.error());
  note_access(*file, accessed_at);
  if (offset >= file->size_bytes) return ReadStart{};
  const std::uint64_t readable_bytes = std::min(length, file->size_bytes - offset);
  ReadStart start{readable_bytes, quarantine_.begin_io()};
  static const FileBlocks kNoBlocks;
  const FileBlocks* blocks = find_blocks(ino);
  (blocks == nullptr ? kNoBlocks : *blocks).plan_read(offset, readable_bytes, space_, plan);
  return start;
}

void Volume::end_read(IoTicket ticket) {
  const std::lock_guard lock(mutex_);
  quarantine_.end_io(ticket);
  free_safe_blocks();
}

Result<FileMap> Volume::map_at(Ino ino, std::uint64_t offset) {
  const std::lock_guard lock(mutex_);
  const Result<Attributes> file = regular_file(ino);
  if (!file) return std::unexpected(file.error());
  FileMap map{.size_bytes = file->size_bytes, .next_data = std::nullopt, .next_hole = offset};
  const FileBlocks* blocks = find_blocks(ino);
  if (blocks == nullptr || offset >= map.size_bytes) return map;
  map.next_data = blocks->next_data(offset, map.size_bytes, geometry_);
  map.next_hole = blocks->next_hole(offset, map.size_bytes, geometry_);
  return map;
}

// --- Writing -------------------------------------------------------------------------------------

Result<Volume::WriteStart> Volume::begin_write(Ino ino, std::uint64_t offset, std::uint64_t length,
                                               GateMode mode, WritePlan& plan) {
  const std::lock_guard lock(mutex_);
  if (Status good = check_range(ino, offset, length); !good) return std::unexpected(good.error());
  FileBlocks& blocks = blocks_of(ino);
  if (mode == GateMode::kShared &&
      (unclean_tails_.contains(ino) || blocks.write_needs_move(offset, length, space_) ||
       blocks.write_needs_fill(offset, length, space_))) {
    return WriteStart{};
  }
  Result<IoTicket> ticket = plan_write(blocks, offset, length, plan);
  if (!ticket) return std::unexpected(ticket.error());
  return WriteStart{*ticket};
}

Status Volume::check_range(Ino ino, std::uint64_t offset, std::uint64_t length) const {
  const Result<Attributes> file = regular_file(ino);
  if (!file) return std::unexpected(file.error());
  if (!range_is_inside(offset, length, max_file_bytes_)) return fail(ErrorCode::kFileTooBig);
  return {};
}

Result<IoTicket> Volume::plan_write(FileBlocks& blocks, std::uint64_t offset, std::uint64_t length,
                                    WritePlan& plan) {
  if (is_memory_full() && blocks.missing_granules(offset, length, geometry_) != 0) {
    return fail(ErrorCode::kNoSpace);
  }
  const MemoryCount count(map_bytes_, blocks);
  IoTicket ticket = quarantine_.begin_io();
  const Status planned = blocks.plan_write(offset, length, space_, plan);
  if (planned) return ticket;
  quarantine_.end_io(ticket);
  return no_space();
}

// There may be any amount of space, only not now.
std::unexpected<Error> Volume::no_space() const {
  return fail(space_.has_usable_provider() ? ErrorCode::kNoSpace : ErrorCode::kDisconnected);
}

void Volume::commit_moves(Ino ino, WritePlan& plan) {
  const std::lock_guard lock(mutex_);
  const auto found = blocks_.find(ino);
  if (found == blocks_.end()) return;  // what the plan holds goes back with end_write()
  BlockList freed;
  found->second.commit_moves(plan, freed);
  retire(freed);
}

Status Volume::commit_write(Ino ino, const WritePlan& plan, std::uint64_t end_offset,
                            Timestamp now) {
  const std::lock_guard lock(mutex_);
  const auto found = blocks_.find(ino);
  if (plan.has_unwritten && found != blocks_.end()) found->second.commit_write(plan, space_);
  Result<Outcome> extended = namespace_.apply(Extend{ino, end_offset, now});
  if (!extended) return std::unexpected(std::move(extended.error()));
  return {};
}

void Volume::note_failed_write(Ino ino) {
  const std::lock_guard lock(mutex_);
  if (blocks_.contains(ino)) unclean_tails_.insert(ino);
}

std::optional<Piece> Volume::unclean_tail(Ino ino) {
  const std::lock_guard lock(mutex_);
  if (!unclean_tails_.contains(ino)) return std::nullopt;
  const Result<Attributes> file = regular_file(ino);
  const FileBlocks* blocks = find_blocks(ino);
  if (!file || blocks == nullptr) return std::nullopt;
  return blocks->truncate_tail(file->size_bytes, space_);
}

void Volume::tail_is_clean(Ino ino) {
  const std::lock_guard lock(mutex_);
  unclean_tails_.erase(ino);
}

void Volume::end_write(WritePlan& plan, IoTicket ticket) {
  const std::lock_guard lock(mutex_);
  FileBlocks::abandon(plan, space_);
  quarantine_.end_io(ticket);
  free_safe_blocks();
}

std::uint64_t Volume::placeable_bytes(Ino ino, std::uint64_t offset, std::uint64_t length) {
  const std::lock_guard lock(mutex_);
  const FileBlocks* blocks = find_blocks(ino);
  return blocks == nullptr || is_memory_full() ? 0
                                               : blocks->placeable_bytes(offset, length, space_);
}

// --- Cutting -------------------------------------------------------------------------------------

Result<std::optional<Piece>> Volume::truncate_tail(Ino ino, std::uint64_t new_size) {
  const std::lock_guard lock(mutex_);
  const Result<Attributes> file = regular_file(ino);
  if (!file) return std::unexpected(file.error());
  const FileBlocks* blocks = find_blocks(ino);
  // Behind the end of a file all is zeros already: only a cut leaves bytes to be cleared.
  if (blocks == nullptr || new_size >= file->size_bytes) return std::nullopt;
  return blocks->truncate_tail(new_size, space_);
}

Status Volume::truncate(const SetAttributes& change) {
  const std::lock_guard lock(mutex_);
  const Result<Outcome> outcome = namespace_.apply(change);
  if (!outcome) return std::unexpected(outcome.error());
  return {};
}

bool Volume::drop_behind(Ino ino, std::uint64_t size_bytes) {
  const std::lock_guard lock(mutex_);
  const auto found = blocks_.find(ino);
  if (found == blocks_.end()) return false;
  BlockList freed;
  const MemoryCount count(map_bytes_, found->second);
  const bool is_done = found->second.truncate(size_bytes, geometry_, freed, kBlocksPerHold);
  retire(freed);
  return !is_done;
}

Status Volume::punch_edges(Ino ino, std::uint64_t offset, std::uint64_t length, Pieces& zeros) {
  const std::lock_guard lock(mutex_);
  const Result<Attributes> file = regular_file(ino);
  if (!file) return std::unexpected(file.error());
  if (const FileBlocks* blocks = find_blocks(ino)) {
    blocks->punch_edges(offset, length, space_, zeros);
  }
  return {};
}

Result<std::uint64_t> Volume::punch(Ino ino, std::uint64_t offset, std::uint64_t length,
                                    Timestamp now) {
  const std::lock_guard lock(mutex_);
  std::uint64_t done = offset + length;
  if (const auto found = blocks_.find(ino); found != blocks_.end()) {
    BlockList freed;
    const MemoryCount count(map_bytes_, found->second);
    done = found->second.punch(offset, length, geometry_, freed, kBlocksPerHold);
    retire(freed);
  }
  const Touch touch{.ino = ino, .atime = false, .mtime = true, .ctime = true, .at = now};
  const Result<Outcome> touched = namespace_.apply(touch);
  if (!touched) return std::unexpected(touched.error());
  return done;
}

// --- Allocating ----------------------------------------------------------------------------------

std::uint64_t Volume::step_bytes(std::uint64_t offset, std::uint64_t length) const {
  const std::uint64_t step_end = geometry_.slot_start(geometry_.slot_of(offset) + kSlotsPerHold);
  return std::min(length, step_end - offset);
}

Result<std::uint64_t> Volume::missing_bytes(Ino ino, std::uint64_t offset, std::uint64_t length) {
  const std::lock_guard lock(mutex_);
  if (Status good = check_range(ino, offset, length); !good) return std::unexpected(good.error());
  return geometry_.granules_to_bytes(blocks_of(ino).missing_granules(offset, length, geometry_));
}

Result<SpaceReservation> Volume::reserve(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  const std::uint64_t granules = geometry_.bytes_to_granules(bytes);
  if (granules != 0 && is_memory_full()) return fail(ErrorCode::kNoSpace);
  if (!space_.reserve(granules)) return no_space();
  return SpaceReservation(*this, granules);
}

void Volume::unreserve(std::uint64_t granules) {
  const std::lock_guard lock(mutex_);
  space_.unreserve(granules);
}

Result<IoTicket> Volume::begin_allocation(Ino ino, std::uint64_t offset, std::uint64_t length,
                                          SpaceReservation& reservation, WritePlan& plan) {
  const std::lock_guard lock(mutex_);
  // The kernel may have given the file up since its space was reserved.
  if (Status good = check_range(ino, offset, length); !good) return std::unexpected(good.error());
  FileBlocks& blocks = blocks_of(ino);
  const std::uint64_t granules = blocks.missing_granules(offset, length, geometry_);
  if (granules > reservation.granules_) return fail(ErrorCode::kNoSpace);
  reservation.granules_ -= granules;
  space_.unreserve(granules);
  return plan_write(blocks, offset, length, plan);
}

// --- Gates ---------------------------------------------------------------------------------------

bool Volume::try_enter(Ino ino, GateMode mode) {
  const std::lock_guard lock(mutex_);
  return gates_.try_enter(ino, mode);
}

bool Volume::enter_or_queue(Ino ino, GateMode mode, GateWaiter& waiter) {
  const std::lock_guard lock(mutex_);
  return gates_.enter_or_queue(ino, mode, waiter);
}

void Volume::leave(Ino ino, GateMode mode, std::vector<GateWaiter*>& admitted) {
  const std::lock_guard lock(mutex_);
  gates_.leave(ino, mode, admitted);
}

}  // namespace rram
