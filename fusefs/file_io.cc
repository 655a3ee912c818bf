#include "fusefs/file_io.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "fusefs/fan_out.h"
#include "fusefs/gate_hold.h"

namespace rram {

namespace {

// How long to wait before looking again whether freed blocks have become safe.
constexpr std::uint64_t kQuarantineCheckMs = 1;

std::span<std::byte> part_of(std::span<std::byte> buffer, std::uint64_t buffer_offset,
                             const Piece& piece) {
  return buffer.subspan(piece.file_offset - buffer_offset, piece.length);
}

std::unexpected<Error> io_failure(ErrorCode code) { return fail(code); }

// Overwrites the pieces with zeros; each is shorter than a granule.
Task<std::optional<ErrorCode>> write_zeros(FileIo io, std::span<const Piece> pieces) {
  FanOut fan_out(io.worker, pieces.size(), io.deadline_ns);
  for (const Piece& piece : pieces) {
    fan_out.write(io.worker.zeros().first(piece.length), piece.place);
  }
  const std::optional<ErrorCode> failure = co_await fan_out.all();
  co_return failure;
}

// Copies the written granules of blocks that move, through this host's memory.
Task<std::optional<ErrorCode>> move_blocks(FileIo io, std::span<const Copy> copies) {
  for (const Copy& copy : copies) {
    const ScratchPool::Buffer buffer = co_await io.worker.scratch().take();
    const std::span<std::byte> bytes = buffer.bytes().first(copy.length);
    FanOut reading(io.worker, 1, io.deadline_ns);
    reading.read(copy.from, bytes);
    const std::optional<ErrorCode> read_failure = co_await reading.all();
    if (read_failure) co_return read_failure;
    FanOut writing(io.worker, 1, io.deadline_ns);
    writing.write(bytes, copy.to);
    const std::optional<ErrorCode> write_failure = co_await writing.all();
    if (write_failure) co_return write_failure;
  }
  co_return std::nullopt;
}

Task<std::optional<ErrorCode>> carry_out(FileIo io, Ino ino, std::uint64_t offset,
                                         std::span<std::byte> data, WritePlan& plan) {
  if (!plan.moves.empty()) {
    const std::optional<ErrorCode> failure = co_await move_blocks(io, plan.copies);
    if (failure) co_return failure;
    io.volume.commit_moves(ino, plan);
  }
  FanOut fan_out(io.worker, plan.pieces.size() + plan.fills.size(), io.deadline_ns);
  for (const Piece& piece : plan.pieces) {
    fan_out.write(part_of(data, offset, piece), piece.place);
  }
  for (const Piece& piece : plan.fills) {
    fan_out.write(io.worker.zeros().first(piece.length), piece.place);
  }
  const std::optional<ErrorCode> failure = co_await fan_out.all();
  co_return failure;
}

// After a write that failed half way: nothing may stand behind the end of the file when it grows.
// The caller is alone with the file.
Task<std::optional<ErrorCode>> clean_tail(FileIo io, Ino ino) {
  const IoTicket ticket = io.volume.begin_io();
  const std::optional<Piece> tail = io.volume.unclean_tail(ino);
  std::optional<ErrorCode> failure;
  if (tail) failure = co_await write_zeros(io, {&*tail, 1});
  io.volume.end_read(ticket);
  if (!failure) io.volume.tail_is_clean(ino);
  co_return failure;
}

enum class WriteOutcome : std::uint8_t { kWritten, kMustBeAlone };

Task<Result<WriteOutcome>> write_once(FileIo io, Ino ino, std::uint64_t offset,
                                      std::span<std::byte> data, GateMode mode, Timestamp now) {
  const GateHold hold = co_await GateEntry(io.volume, io.worker.loop(), ino, mode);
  if (mode == GateMode::kExclusive) {
    const std::optional<ErrorCode> unclean = co_await clean_tail(io, ino);
    if (unclean) co_return io_failure(*unclean);
  }
  WritePlan plan;
  Result<Volume::WriteStart> start = io.volume.begin_write(ino, offset, data.size(), mode, plan);
  if (!start) co_return std::unexpected(start.error());
  if (!start->ticket) co_return WriteOutcome::kMustBeAlone;
  const std::optional<ErrorCode> failure = co_await carry_out(io, ino, offset, data, plan);
  Status committed;
  if (failure) {
    io.volume.note_failed_write(ino);
  } else {
    committed = io.volume.commit_write(ino, plan, offset + data.size(), now);
  }
  io.volume.end_write(plan, *start->ticket);
  if (failure) co_return io_failure(*failure);
  if (!committed) co_return std::unexpected(committed.error());
  co_return WriteOutcome::kWritten;
}

// Retries what found no space, once the deleted is free again. Belongs to the coroutine whose `io`
// it is given.
class SpaceWait {
 public:
  explicit SpaceWait(FileIo& io) : io_(io) {}

  // True: space may have come back, try again. Forgets are drained once; then as long as blocks are
  // on their way back there is something to wait for. Where others hold them, until the request
  // must be answered; where they are many, as long as it takes: the deadline is put off.
  Task<bool> wait() {
    if (!std::exchange(has_drained_, true)) {
      co_await settle_space(io_);
      co_return true;
    }
    const SpaceComing coming = io_.volume.space_coming();
    if (coming == SpaceComing::kNone) {
      // They may have become free between the attempt and this look: one more attempt decides.
      co_return !std::exchange(has_seen_none_, true);
    }
    has_seen_none_ = false;
    if (coming == SpaceComing::kAtOnce) {
      co_await let_others_go_on();
      co_return true;
    }
    if (io_.worker.is_overdue(io_.deadline_ns)) co_return false;
    co_await io_.worker.loop().sleep_ms(kQuarantineCheckMs);
    co_return true;
  }

 private:
  Task<> let_others_go_on() {
    EventLoop& loop = io_.worker.loop();
    const std::uint64_t before_ns = loop.running_ns();
    co_await loop.resume_here();
    const std::uint64_t passed_ns = loop.running_ns() - before_ns;
    io_.deadline_ns += std::min(passed_ns, UINT64_MAX - io_.deadline_ns);
  }

  FileIo& io_;
  bool has_drained_ = false;
  bool has_seen_none_ = false;
};

Task<Result<std::size_t>> write_when_placed(FileIo io, Ino ino, std::uint64_t offset,
                                            std::span<std::byte> data, bool may_be_short,
                                            Timestamp now) {
  GateMode mode = GateMode::kShared;
  SpaceWait space_wait(io);
  for (;;) {
    const Result<WriteOutcome> outcome = co_await write_once(io, ino, offset, data, mode, now);
    if (outcome) {
      if (*outcome == WriteOutcome::kWritten) co_return data.size();
      mode = GateMode::kExclusive;
      continue;
    }
    if (outcome.error().code != ErrorCode::kNoSpace) co_return std::unexpected(outcome.error());
    const bool try_again = co_await space_wait.wait();
    if (try_again) continue;
    const std::uint64_t placeable =
        may_be_short ? io.volume.placeable_bytes(ino, offset, data.size()) : 0;
    if (placeable == 0) co_return std::unexpected(outcome.error());
    data = data.first(std::min<std::size_t>(placeable, data.size()));
  }
}

// All that the range lacks, as one: an allocation finds room for all of it or changes nothing. The
// caller is alone with the file, and who waits for that has a deadline too: this ends with its own.
Task<Result<SpaceReservation>> reserve_missing(FileIo io, Ino ino, std::uint64_t offset,
                                               std::uint64_t length) {
  const std::uint64_t deadline_ns = io.deadline_ns;
  std::uint64_t missing_bytes = 0;
  for (const std::uint64_t end = offset + length; offset < end;) {
    const std::uint64_t step = io.volume.step_bytes(offset, end - offset);
    const Result<std::uint64_t> missing = io.volume.missing_bytes(ino, offset, step);
    if (!missing) co_return std::unexpected(missing.error());
    missing_bytes += *missing;
    offset += step;
    if (offset < end) co_await io.worker.loop().resume_here();
    if (io.worker.is_overdue(deadline_ns)) co_return io_failure(ErrorCode::kTimedOut);
  }
  SpaceWait space_wait(io);
  while (!io.worker.is_overdue(deadline_ns)) {
    Result<SpaceReservation> reservation = io.volume.reserve(missing_bytes);
    if (reservation || reservation.error().code != ErrorCode::kNoSpace) {
      co_return std::move(reservation);
    }
    const bool try_again = co_await space_wait.wait();
    if (!try_again) co_return std::unexpected(reservation.error());
  }
  co_return io_failure(ErrorCode::kTimedOut);
}

Task<Status> allocate_step(FileIo io, Ino ino, std::uint64_t offset, std::uint64_t length,
                           SpaceReservation& reservation) {
  WritePlan plan;
  const Result<IoTicket> ticket =
      io.volume.begin_allocation(ino, offset, length, reservation, plan);
  if (!ticket) co_return std::unexpected(ticket.error());
  std::optional<ErrorCode> failure;
  if (!plan.moves.empty()) {
    failure = co_await move_blocks(io, plan.copies);
    if (!failure) io.volume.commit_moves(ino, plan);
  }
  io.volume.end_write(plan, *ticket);
  if (failure) co_return io_failure(*failure);
  co_return Status{};
}

}  // namespace

Task<> settle_space(FileIo io) { co_await io.caches.drain_forgets(io.worker); }

Task<Result<std::size_t>> read_file(FileIo io, Ino ino, std::uint64_t offset,
                                    std::span<std::byte> buffer,
                                    std::optional<Timestamp> accessed_at) {
  ReadPlan plan;
  const Result<Volume::ReadStart> start =
      io.volume.begin_read(ino, offset, buffer.size(), accessed_at, plan);
  if (!start) co_return std::unexpected(start.error());
  if (!start->ticket) co_return std::size_t{0};
  FanOut fan_out(io.worker, plan.pieces.size(), io.deadline_ns);
  for (const Piece& piece : plan.pieces) {
    const std::span<std::byte> part = part_of(buffer, offset, piece);
    if (piece.is_hole) {
      std::memset(part.data(), 0, part.size());
    } else {
      fan_out.read(piece.place, part);
    }
  }
  const std::optional<ErrorCode> failure = co_await fan_out.all();
  io.volume.end_read(*start->ticket);
  if (failure) co_return io_failure(*failure);
  co_return start->length_bytes;
}

Task<Result<std::size_t>> write_file(FileIo io, Ino ino, std::uint64_t offset,
                                     std::span<std::byte> data, bool may_be_short, Timestamp now) {
  Result<std::size_t> written =
      co_await write_when_placed(io, ino, offset, data, may_be_short, now);
  if (!written) io.volume.count_failed_write();
  co_return std::move(written);
}

Task<Result<FileStat>> truncate_file(FileIo io, SetAttributes change) {
  const GateHold hold =
      co_await GateEntry(io.volume, io.worker.loop(), change.ino, GateMode::kExclusive);
  const Result<FileStat> before = io.volume.stat(change.ino);
  if (!before) co_return std::unexpected(before.error());
  std::optional<ErrorCode> failure;
  if (*change.size_bytes > before->attributes.size_bytes) {
    failure = co_await clean_tail(io, change.ino);
    if (failure) co_return io_failure(*failure);
  }
  const IoTicket ticket = io.volume.begin_io();
  const Result<std::optional<Piece>> tail = io.volume.truncate_tail(change.ino, *change.size_bytes);
  if (tail && *tail) failure = co_await write_zeros(io, {&**tail, 1});
  io.volume.end_read(ticket);
  if (!tail) co_return std::unexpected(tail.error());
  if (failure) co_return io_failure(*failure);
  const Status cut = io.volume.truncate(change);
  if (!cut) co_return std::unexpected(cut.error());
  while (io.volume.drop_behind(change.ino, *change.size_bytes)) {
    co_await io.worker.loop().resume_here();
  }
  co_return io.volume.stat(change.ino);
}

Task<> drop_deleted(FileIo io) {
  // At the end of the mount all of it goes at once, with the volume.
  while (!io.worker.running().is_closed() && io.volume.drop_deleted()) {
    co_await io.worker.loop().resume_here();
  }
}

Task<Status> allocate_range(FileIo io, Ino ino, std::uint64_t offset, std::uint64_t length,
                            bool keeps_size, Timestamp now) {
  // More than the whole volume is refused before it is walked slot by slot.
  if (length > io.volume.figures().total_bytes) co_return fail(ErrorCode::kNoSpace);
  const GateHold hold = co_await GateEntry(io.volume, io.worker.loop(), ino, GateMode::kExclusive);
  if (!keeps_size) {
    const std::optional<ErrorCode> unclean = co_await clean_tail(io, ino);
    if (unclean) co_return io_failure(*unclean);
  }
  Result<SpaceReservation> reservation = co_await reserve_missing(io, ino, offset, length);
  if (!reservation) co_return std::unexpected(reservation.error());
  const std::uint64_t end = offset + length;
  while (offset < end) {
    const std::uint64_t step = io.volume.step_bytes(offset, end - offset);
    const Status allocated = co_await allocate_step(io, ino, offset, step, *reservation);
    if (!allocated) co_return allocated;
    offset += step;
    if (offset == end) break;
    co_await io.worker.loop().resume_here();
    if (io.worker.is_overdue(io.deadline_ns)) co_return fail(ErrorCode::kTimedOut);
  }
  const WritePlan nothing_written;
  co_return io.volume.commit_write(ino, nothing_written, keeps_size ? 0 : end, now);
}

Task<Status> punch_range(FileIo io, Ino ino, std::uint64_t offset, std::uint64_t length,
                         Timestamp now) {
  const GateHold hold = co_await GateEntry(io.volume, io.worker.loop(), ino, GateMode::kExclusive);
  const IoTicket ticket = io.volume.begin_io();
  Pieces edges;
  const Status planned = io.volume.punch_edges(ino, offset, length, edges);
  std::optional<ErrorCode> failure;
  if (!edges.empty()) failure = co_await write_zeros(io, edges);
  io.volume.end_read(ticket);
  if (!planned) co_return planned;
  if (failure) co_return io_failure(*failure);
  const std::uint64_t end = offset + length;
  for (;;) {
    const Result<std::uint64_t> done = io.volume.punch(ino, offset, end - offset, now);
    if (!done) co_return std::unexpected(done.error());
    if (*done == end) co_return Status{};
    offset = *done;
    co_await io.worker.loop().resume_here();
    // Writes wait at the gate, whose deadlines follow this one. A part of a range may be punched.
    if (io.worker.is_overdue(io.deadline_ns)) co_return fail(ErrorCode::kTimedOut);
  }
}

namespace {

// Has the kernel write what it has cached of the range. False: it could not be asked now. The
// failure: some write of this mount has failed meanwhile, perhaps one of these, and what it should
// have written would look like a hole.
Task<Result<bool>> settle_pages(FileIo io, Ino ino, std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t failed_before = io.volume.failed_writes();
  const bool is_asked = co_await io.caches.write_back(io.worker, ino, offset, length);
  if (!is_asked) co_return false;
  // Kernels that write from copies of pages (before 6.16) do not wait for those under way already:
  // what has come here is done once the gate opens.
  {
    const GateHold hold =
        co_await GateEntry(io.volume, io.worker.loop(), ino, GateMode::kExclusive);
  }
  if (io.volume.failed_writes() != failed_before) co_return io_failure(ErrorCode::kIo);
  co_return true;
}

// The answer that is never wrong: a file system may call all of a file data. What lies behind the
// end that is known may be data or not: the caller has to ask again.
Result<std::uint64_t> all_is_data(const FileMap& map, std::uint64_t offset, std::uint64_t answer) {
  if (offset < map.size_bytes) return answer;
  return io_failure(ErrorCode::kWouldBlock);
}

}  // namespace

// What the volume calls a hole may be data that the kernel has not written yet, and what it calls
// the end may be short of it. So the hole that an answer rests on is written back first; where it
// calls something data, it is right.
Task<Result<std::uint64_t>> seek_data(FileIo io, Ino ino, std::uint64_t offset) {
  Result<FileMap> map = io.volume.map_at(ino, offset);
  if (!map) co_return std::unexpected(map.error());
  if (map->next_data != offset) {
    const std::uint64_t hole_bytes = map->next_data ? *map->next_data - offset : 0;
    const Result<bool> settled = co_await settle_pages(io, ino, offset, hole_bytes);
    if (!settled) co_return std::unexpected(settled.error());
    if (!*settled) co_return all_is_data(*map, offset, offset);
    map = io.volume.map_at(ino, offset);
    if (!map) co_return std::unexpected(map.error());
  }
  if (!map->next_data) co_return io_failure(ErrorCode::kNoSuchOffset);
  co_return *map->next_data;
}

Task<Result<std::uint64_t>> seek_hole(FileIo io, Ino ino, std::uint64_t offset) {
  std::optional<std::uint64_t> written_back;
  for (;;) {
    const Result<FileMap> map = io.volume.map_at(ino, offset);
    if (!map) co_return std::unexpected(map.error());
    // A hole that is one still.
    if (map->next_hole == written_back) {
      if (offset >= map->size_bytes) co_return io_failure(ErrorCode::kNoSuchOffset);
      co_return map->next_hole;
    }
    // A writer may fill holes faster than they are found.
    if (io.worker.is_overdue(io.deadline_ns)) {
      co_return all_is_data(*map, offset, map->size_bytes);
    }
    const Result<FileMap> behind = io.volume.map_at(ino, map->next_hole);
    if (!behind) co_return std::unexpected(behind.error());
    const std::uint64_t hole_bytes = behind->next_data ? *behind->next_data - map->next_hole : 0;
    const Result<bool> settled = co_await settle_pages(io, ino, map->next_hole, hole_bytes);
    if (!settled) co_return std::unexpected(settled.error());
    if (!*settled) co_return all_is_data(*map, offset, map->size_bytes);
    written_back = map->next_hole;
  }
}

// Before it asks for a copy the kernel has written what it had cached of the source's range.
Task<Result<std::size_t>> copy_range(FileIo io, CopyRange range, std::span<std::byte> buffer,
                                     std::optional<Timestamp> accessed_at, Timestamp now) {
  std::size_t copied = 0;
  while (copied < range.length) {
    const std::span<std::byte> part =
        buffer.first(std::min<std::uint64_t>(buffer.size(), range.length - copied));
    const Result<std::size_t> read =
        co_await read_file(io, range.from, range.from_offset + copied, part, accessed_at);
    if (!read && copied == 0) co_return std::unexpected(read.error());
    if (!read || *read == 0) break;
    const Result<std::size_t> written = co_await write_file(
        io, range.to, range.to_offset + copied, part.first(*read), /*may_be_short=*/true, now);
    if (!written && copied == 0) co_return std::unexpected(written.error());
    if (!written) break;
    copied += *written;
    if (*written < part.size()) break;
  }
  co_return copied;
}

}  // namespace rram
