// The whole layout against the simplest thing that could be right: every file a byte array, every
// provider's memory a byte array that is never cleaned, and every plan carried out byte by byte.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <optional>
#include <unordered_set>
#include <vector>

#include "fusefs/layout/file_blocks.h"
#include "fusefs/layout/quarantine.h"
#include "fusefs/layout/space.h"
#include "tests/unit/layout/seeded_random.h"

namespace rram {
namespace {

constexpr std::uint8_t kGarbage = 0xAA;  // memory nobody has written; no file ever writes it

struct Setup {
  std::uint64_t stripe_unit_bytes;
  std::uint64_t region_bytes;
  std::vector<std::uint64_t> regions;  // by provider
  unsigned steps;
};

// Provider memory, found by place alone.
class FakeMemory {
 public:
  explicit FakeMemory(const Setup& setup) : region_bytes_(setup.region_bytes) {
    for (const std::uint64_t count : setup.regions) {
      leases_.emplace_back(count * setup.region_bytes, kGarbage);
    }
  }
  std::uint8_t* at(const Place& place, std::uint64_t length) {
    EXPECT_LE(place.region_offset + length, region_bytes_) << "crosses a region";
    const std::uint64_t offset = place.region_index * region_bytes_ + place.region_offset;
    EXPECT_LE(offset + length, leases_.at(place.provider).size());
    return leases_.at(place.provider).data() + offset;
  }

 private:
  std::uint64_t region_bytes_;
  std::vector<std::vector<std::uint8_t>> leases_;
};

// A file and what it should hold. The bytes it ever writes carry its tag in their high bits.
struct ModelFile {
  FileBlocks blocks;
  std::vector<std::uint8_t> bytes;
  std::uint8_t tag = 0;
  unsigned pending_writes = 0;
};

struct PendingRead {
  std::size_t file;
  std::uint8_t tag;
  ReadPlan plan;
  Quarantine::Ticket ticket;
};

struct PendingWrite {
  std::size_t file;
  std::uint64_t offset;
  std::vector<std::uint8_t> data;
  WritePlan plan;
  Quarantine::Ticket ticket;
};

// How often the rare things happened: a model that never meets them proves nothing.
struct Seen {
  unsigned reads = 0, delayed_reads = 0, writes = 0, delayed_writes = 0, failed_writes = 0;
  unsigned moves = 0, no_space = 0, short_writes = 0, split_slots = 0, fills = 0, tails = 0;
  unsigned punches = 0, truncates = 0, grown = 0;
};

class LayoutModel {
 public:
  explicit LayoutModel(const Setup& setup)
      : setup_(setup),
        geometry_(Geometry::make(setup.stripe_unit_bytes).value()),
        space_(geometry_),
        quarantine_(geometry_),
        memory_(setup) {
    for (unsigned provider = 0; provider < setup.regions.size(); ++provider) {
      EXPECT_TRUE(space_.add_lease(provider, setup.region_bytes, setup.regions[provider]));
    }
    for (std::size_t index = 0; index < kFiles; ++index) {
      files_.emplace_back();
      renew(files_.back());
    }
  }

  void run() {
    for (unsigned step = 0; step < setup_.steps && !::testing::Test::HasFailure(); ++step) {
      // A third of the time is spent with much room, the rest near the end of it.
      one_step((step / 1000) % 3 == 0);
      check_sums();
      if (step % 256 == 0) {
        check_owners();
        check_all_files();
      }
    }
    finish();
  }

  const Seen& seen() const { return seen_; }

 private:
  static constexpr std::size_t kFiles = 7;

  void one_step(bool is_roomy) {
    const std::size_t index = random_.below(kFiles);
    if (is_roomy && random_.below(8) == 0) {
      remove(index);
    }
    if (random_.below(3) == 0) {
      return_safe_blocks();
    }
    const unsigned dice = random_.below(100);
    if (dice < 40) {
      write(index);
    } else if (dice < 62) {
      read(index);
    } else if (dice < 68) {
      begin_delayed_read(index);
    } else if (dice < 74) {
      end_delayed_read();
    } else if (dice < 80) {
      end_delayed_write();
    } else if (dice < 86) {
      truncate(index);
    } else if (dice < 90) {
      punch(index);
    } else if (dice < 95) {
      remove(index);
    } else if (dice < 96) {
      space_.set_usable(random_.below(setup_.regions.size()), random_.below(3) != 0);
    } else {
      preallocate(index);
    }
  }

  // --- Chance ---

  std::uint64_t max_file_bytes() const { return 12 * geometry_.stripe_unit_bytes(); }

  // Often a granule boundary or one byte beside it.
  std::uint64_t some_offset(std::uint64_t bound) {
    std::uint64_t offset = random_.below(bound);
    if (random_.below(2) == 0) {
      offset = geometry_.granule_floor(offset);
      const unsigned dice = random_.below(8);
      offset = dice == 0 && offset > 0 ? offset - 1 : dice == 1 ? offset + 1 : offset;
    }
    return offset;
  }
  std::uint64_t some_length() {
    switch (random_.below(4)) {
      case 0:
        return 1 + random_.below(300);
      case 1:
        return geometry_.granule_bytes() * (1 + random_.below(4));
      case 2:
        return 1 + random_.below(4 * geometry_.granule_bytes());
      default:
        return 1 + random_.below(2 * geometry_.stripe_unit_bytes());
    }
  }

  // --- The operations ---

  void write(std::size_t index) {
    ModelFile& file = files_[index];
    const bool appends = random_.below(3) == 0 && file.bytes.size() < max_file_bytes();
    const std::uint64_t offset = appends ? file.bytes.size() : some_offset(max_file_bytes());
    std::uint64_t length = some_length();
    const bool is_exclusive = file.blocks.write_needs_move(offset, length, space_) ||
                              file.blocks.write_needs_fill(offset, length, space_);
    if (is_exclusive) {
      end_all_writes_of(index);
    }
    const bool may_move = file.blocks.write_needs_move(offset, length, space_);
    auto ticket = quarantine_.begin_io();
    PendingWrite write{index, offset, {}, {}, ticket};
    length = plan(file, offset, length, write.plan);
    if (length == 0) {
      quarantine_.end_io(ticket);
      return;
    }
    ASSERT_TRUE(may_move || write.plan.moves.empty()) << "moves without having said so";
    write.data = some_data(file.tag, length);
    seen_.fills += write.plan.fills.empty() ? 0 : 1;
    file.pending_writes += 1;
    if (!is_exclusive && random_.below(3) == 0) {
      ++seen_.delayed_writes;
      pending_writes_.push_back(std::move(write));
      return;
    }
    carry_out(write);
  }

  // Plans as much of the write as there is room for, and checks "no space" against a count.
  std::uint64_t plan(ModelFile& file, std::uint64_t offset, std::uint64_t length, WritePlan& plan) {
    const std::uint64_t missing = missing_granules(file, offset, length);
    const std::uint64_t free_before = space_.free_granules();
    const std::uint64_t placeable = file.blocks.placeable_bytes(offset, length, space_);
    const std::uint64_t allocated_before = file.blocks.allocated_bytes(geometry_);
    if (file.blocks.plan_write(offset, length, space_, plan)) {
      EXPECT_LE(missing, free_before);
      EXPECT_EQ(placeable, length);
      check_pieces(plan.pieces, offset, length);
      const bool is_grown = allocated_before != file.blocks.allocated_bytes(geometry_);
      seen_.grown += is_grown ? 1 : 0;
      return length;
    }
    ++seen_.no_space;
    EXPECT_GT(missing, free_before) << "no space although there is room";
    EXPECT_EQ(space_.free_granules(), free_before);
    EXPECT_EQ(file.blocks.allocated_bytes(geometry_), allocated_before);
    EXPECT_LT(placeable, length);
    EXPECT_GT(missing_granules(file, offset, placeable + 1), free_before);
    if (placeable == 0 || file.blocks.write_needs_move(offset, placeable, space_) ||
        file.blocks.write_needs_fill(offset, placeable, space_)) {
      return 0;  // another kind of write than the one that was prepared
    }
    ++seen_.short_writes;
    EXPECT_TRUE(file.blocks.plan_write(offset, placeable, space_, plan));
    check_pieces(plan.pieces, offset, placeable);
    return placeable;
  }

  void carry_out(PendingWrite& write) {
    ModelFile& file = files_[write.file];
    file.pending_writes -= 1;
    for (const Copy& copy : write.plan.copies) {
      std::memcpy(memory_.at(copy.to, copy.length), memory_.at(copy.from, copy.length),
                  copy.length);
    }
    const unsigned failure = random_.below(40);
    if (failure != 0) {
      BlockList freed;
      seen_.moves += static_cast<unsigned>(write.plan.moves.size());
      file.blocks.commit_moves(write.plan, freed);
      retire(freed);
    }
    if (failure > 1) {
      for (const Piece& fill : write.plan.fills) {
        std::memset(memory_.at(fill.place, fill.length), 0, fill.length);
      }
      for (const Piece& piece : write.plan.pieces) {
        std::memcpy(memory_.at(piece.place, piece.length),
                    write.data.data() + (piece.file_offset - write.offset), piece.length);
      }
      file.blocks.commit_write(write.plan, space_);
      const std::uint64_t end = write.offset + write.data.size();
      file.bytes.resize(std::max<std::uint64_t>(file.bytes.size(), end), 0);
      std::copy(write.data.begin(), write.data.end(),
                file.bytes.begin() + static_cast<std::ptrdiff_t>(write.offset));
      ++seen_.writes;
    } else {
      ++seen_.failed_writes;
    }
    FileBlocks::abandon(write.plan, space_);
    quarantine_.end_io(write.ticket);
  }

  void end_delayed_write() {
    if (pending_writes_.empty()) {
      return;
    }
    const std::size_t which = random_.below(pending_writes_.size());
    PendingWrite write = std::move(pending_writes_[which]);
    pending_writes_.erase(pending_writes_.begin() + static_cast<std::ptrdiff_t>(which));
    carry_out(write);
  }

  void end_all_writes_of(std::size_t index) {
    for (std::size_t which = 0; which < pending_writes_.size();) {
      if (pending_writes_[which].file != index) {
        ++which;
        continue;
      }
      PendingWrite write = std::move(pending_writes_[which]);
      pending_writes_.erase(pending_writes_.begin() + static_cast<std::ptrdiff_t>(which));
      carry_out(write);
    }
    ASSERT_EQ(files_[index].pending_writes, 0U);
  }

  void read(std::size_t index) {
    const ModelFile& file = files_[index];
    if (file.bytes.empty()) {
      return;
    }
    const std::uint64_t offset = std::min(some_offset(file.bytes.size()), file.bytes.size() - 1);
    const std::uint64_t length = std::min(some_length(), file.bytes.size() - offset);
    expect_bytes(file, offset, length);
  }

  void expect_bytes(const ModelFile& file, std::uint64_t offset, std::uint64_t length) {
    ++seen_.reads;
    file.blocks.plan_read(offset, length, space_, read_plan_);
    check_pieces(read_plan_.pieces, offset, length);
    for (const Piece& piece : read_plan_.pieces) {
      const std::uint8_t* expected = file.bytes.data() + piece.file_offset;
      if (piece.is_hole) {
        const bool is_zero = std::all_of(expected, expected + piece.length,
                                         [](std::uint8_t byte) { return byte == 0; });
        ASSERT_TRUE(is_zero) << "data lost at " << piece.file_offset;
      } else {
        ASSERT_EQ(std::memcmp(expected, memory_.at(piece.place, piece.length), piece.length), 0)
            << "wrong bytes in the piece at " << piece.file_offset << " of " << piece.length;
      }
    }
  }

  // A read that is slow: the file may change and vanish meanwhile, and yet it must never see what
  // another file wrote.
  void begin_delayed_read(std::size_t index) {
    const ModelFile& file = files_[index];
    if (file.bytes.empty()) {
      return;
    }
    const std::uint64_t offset = random_.below(file.bytes.size());
    const std::uint64_t length = std::min(some_length(), file.bytes.size() - offset);
    PendingRead read{index, file.tag, {}, quarantine_.begin_io()};
    file.blocks.plan_read(offset, length, space_, read.plan);
    pending_reads_.push_back(std::move(read));
  }

  void end_delayed_read() {
    if (pending_reads_.empty()) {
      return;
    }
    const PendingRead& read = pending_reads_.front();
    for (const Piece& piece : read.plan.pieces) {
      if (!piece.is_hole) {
        const std::uint8_t* bytes = memory_.at(piece.place, piece.length);
        const bool is_own = std::all_of(bytes, bytes + piece.length, [&](std::uint8_t byte) {
          return byte == 0 || (byte & 0xF0U) == read.tag;
        });
        ASSERT_TRUE(is_own) << "a slow read saw the bytes of someone else";
      }
    }
    quarantine_.end_io(read.ticket);
    pending_reads_.pop_front();
    ++seen_.delayed_reads;
  }

  void truncate(std::size_t index) {
    ModelFile& file = files_[index];
    end_all_writes_of(index);
    const unsigned dice = random_.below(4);
    const std::uint64_t size = dice == 0   ? 0
                               : dice == 1 ? some_offset(max_file_bytes())
                                           : random_.below(file.bytes.size() + 1);
    const auto ticket = quarantine_.begin_io();
    if (const auto tail = file.blocks.truncate_tail(size, space_)) {
      std::memset(memory_.at(tail->place, tail->length), 0, tail->length);
      ++seen_.tails;
    }
    BlockList freed;
    file.blocks.truncate(size, geometry_, freed);
    retire(freed);
    quarantine_.end_io(ticket);
    file.bytes.resize(size, 0);
    ++seen_.truncates;
  }

  void punch(std::size_t index) {
    ModelFile& file = files_[index];
    end_all_writes_of(index);
    const std::uint64_t offset = some_offset(max_file_bytes());
    const std::uint64_t length = some_length();
    const auto ticket = quarantine_.begin_io();
    Pieces zeros;
    file.blocks.punch_edges(offset, length, space_, zeros);
    for (const Piece& piece : zeros) {
      std::memset(memory_.at(piece.place, piece.length), 0, piece.length);
    }
    BlockList freed;
    file.blocks.punch(offset, length, geometry_, freed);
    retire(freed);
    quarantine_.end_io(ticket);
    const std::uint64_t size = file.bytes.size();
    const std::uint64_t begin = std::min(offset, size);
    const std::uint64_t end = std::min(offset + length, size);
    std::fill(file.bytes.begin() + static_cast<std::ptrdiff_t>(begin),
              file.bytes.begin() + static_cast<std::ptrdiff_t>(end), std::uint8_t{0});
    ++seen_.punches;
  }

  void preallocate(std::size_t index) {
    ModelFile& file = files_[index];
    end_all_writes_of(index);
    const std::uint64_t offset = some_offset(max_file_bytes());
    const auto ticket = quarantine_.begin_io();
    WritePlan plan;
    if (file.blocks.plan_write(offset, some_length(), space_, plan)) {
      for (const Copy& copy : plan.copies) {
        std::memcpy(memory_.at(copy.to, copy.length), memory_.at(copy.from, copy.length),
                    copy.length);
      }
      BlockList freed;
      file.blocks.commit_moves(plan, freed);
      retire(freed);
    }
    quarantine_.end_io(ticket);
  }

  void remove(std::size_t index) {
    ModelFile& file = files_[index];
    end_all_writes_of(index);
    BlockList freed;
    file.blocks.clear(geometry_, freed);
    retire(freed);
    EXPECT_EQ(file.blocks.allocated_bytes(geometry_), 0U);
    renew(file);
  }

  void renew(ModelFile& file) {
    file.blocks = FileBlocks(random_.below(1000));
    file.bytes.clear();
    // 0x10 .. 0x90: a slow reader of the file before must be able to tell the difference.
    next_tag_ = static_cast<std::uint8_t>(next_tag_ % 9 + 1);
    file.tag = static_cast<std::uint8_t>(next_tag_ << 4U);
  }

  std::vector<std::uint8_t> some_data(std::uint8_t tag, std::uint64_t length) {
    std::vector<std::uint8_t> data(length);
    unsigned value = random_.below(15);
    for (std::uint8_t& byte : data) {
      byte = static_cast<std::uint8_t>(tag | (value % 16));
      value = value * 5 + 7;
    }
    return data;
  }

  void retire(const BlockList& freed) {
    for (const Block block : freed) {
      quarantine_.retire(block);
    }
  }

  void return_safe_blocks() {
    std::vector<Block> safe;
    quarantine_.collect(safe);
    for (const Block block : safe) {
      space_.free(block);
    }
  }

  // --- The checks ---

  void check_pieces(const Pieces& pieces, std::uint64_t offset, std::uint64_t length) {
    std::uint64_t next = offset;
    for (const Piece& piece : pieces) {
      ASSERT_EQ(piece.file_offset, next);
      ASSERT_GT(piece.length, 0U);
      ASSERT_TRUE(piece.is_hole || piece.length <= geometry_.stripe_unit_bytes());
      next += piece.length;
    }
    ASSERT_EQ(next, offset + length);
  }

  std::uint64_t missing_granules(const ModelFile& file, std::uint64_t offset,
                                 std::uint64_t length) const {
    const std::uint64_t first = geometry_.bytes_to_granules(offset);
    const std::uint64_t last = geometry_.bytes_to_granules(offset + length - 1);
    std::uint64_t missing = last - first + 1;
    file.blocks.for_each_block(
        [&](std::uint64_t slot, unsigned first_granule, Block block, std::uint64_t) {
          const std::uint64_t begin = slot * geometry_.granules_per_unit() + first_granule;
          for (std::uint64_t g = begin; g < begin + block.granules(); ++g) {
            missing -= g >= first && g <= last ? 1 : 0;
          }
        });
    return missing;
  }

  void check_sums() {
    std::uint64_t in_files = 0;
    for (const ModelFile& file : files_) {
      in_files += file.blocks.allocated_bytes(geometry_);
    }
    std::uint64_t free_on_dead = 0;
    for (unsigned provider = 0; provider < setup_.regions.size(); ++provider) {
      if (!space_.is_usable(provider)) {
        free_on_dead += space_.capacity_bytes(provider) - space_.used_bytes(provider);
      }
    }
    ASSERT_EQ(space_.total_bytes(),
              space_.free_bytes() + free_on_dead + quarantine_.held_bytes() + in_files);
  }

  // No granule has two owners among the files, and files' own counts are right.
  void check_owners() {
    std::unordered_set<std::uint64_t> owned;
    for (const ModelFile& file : files_) {
      std::uint64_t granules = 0;
      std::uint64_t slot_of_last = ~std::uint64_t{0};
      file.blocks.for_each_block([&](std::uint64_t slot, unsigned, Block block, std::uint64_t) {
        seen_.split_slots += slot == slot_of_last ? 1 : 0;
        slot_of_last = slot;
        granules += block.granules();
        for (unsigned g = 0; g < block.granules(); ++g) {
          const std::uint64_t name = (block.granule() + g) << 10U | block.provider();
          ASSERT_TRUE(owned.insert(name).second) << "a granule of two owners";
        }
      });
      ASSERT_EQ(geometry_.granules_to_bytes(granules), file.blocks.allocated_bytes(geometry_));
    }
  }

  void check_all_files() {
    for (const ModelFile& file : files_) {
      if (!file.bytes.empty()) {
        expect_bytes(file, 0, file.bytes.size());
        check_seek(file);
      }
    }
  }

  // What SEEK_DATA skips is zeros, and data and holes take turns.
  void check_seek(const ModelFile& file) {
    const std::uint64_t size = file.bytes.size();
    std::uint64_t at = 0;
    while (at < size) {
      const std::uint64_t data = file.blocks.next_data(at, size, geometry_).value_or(size);
      ASSERT_GE(data, at);
      ASSERT_TRUE(std::all_of(file.bytes.begin() + static_cast<std::ptrdiff_t>(at),
                              file.bytes.begin() + static_cast<std::ptrdiff_t>(data),
                              [](std::uint8_t byte) { return byte == 0; }));
      if (data == size) {
        return;
      }
      at = file.blocks.next_hole(data, size, geometry_);
      ASSERT_GT(at, data);
    }
  }

  void finish() {
    while (!pending_writes_.empty() && !::testing::Test::HasFailure()) {
      end_delayed_write();
    }
    check_owners();
    check_all_files();
    while (!pending_reads_.empty() && !::testing::Test::HasFailure()) {
      end_delayed_read();
    }
    for (std::size_t index = 0; index < kFiles; ++index) {
      remove(index);
    }
    return_safe_blocks();
    for (unsigned provider = 0; provider < setup_.regions.size(); ++provider) {
      space_.set_usable(provider, true);
      EXPECT_EQ(space_.used_bytes(provider), 0U);
    }
    EXPECT_EQ(space_.free_bytes(), space_.total_bytes());
    EXPECT_EQ(quarantine_.held_bytes(), 0U);
    EXPECT_EQ(quarantine_.tickets_out(), 0U);
  }

  SeededRandom random_;
  Setup setup_;
  Geometry geometry_;
  Space space_;
  Quarantine quarantine_;
  FakeMemory memory_;
  std::vector<ModelFile> files_;
  std::deque<PendingRead> pending_reads_;
  std::vector<PendingWrite> pending_writes_;
  ReadPlan read_plan_;
  std::uint8_t next_tag_ = 0;
  Seen seen_;
};

void run_model(const Setup& setup) {
  LayoutModel model(setup);
  model.run();
  const Seen& seen = model.seen();
  fmt::print(
      "reads {} delayed {}, writes {} delayed {} failed {} short {}, no space {}, moves {}, grown "
      "{}, split granules {}, fills {}, truncates {} with tail {}, punches {}\n",
      seen.reads, seen.delayed_reads, seen.writes, seen.delayed_writes, seen.failed_writes,
      seen.short_writes, seen.no_space, seen.moves, seen.grown, seen.split_slots, seen.fills,
      seen.truncates, seen.tails, seen.punches);
  for (const unsigned count :
       {seen.reads, seen.delayed_reads, seen.writes, seen.delayed_writes, seen.failed_writes,
        seen.short_writes, seen.no_space, seen.moves, seen.grown, seen.split_slots, seen.fills,
        seen.truncates, seen.tails, seen.punches}) {
    EXPECT_GT(count, 3U) << "something was hardly met";
  }
}

TEST(LayoutModel, smallest_units) {
  run_model({.stripe_unit_bytes = 16 * 1024,
             .region_bytes = 32 * 1024,
             .regions = {8, 4, 5, 3},
             .steps = 60'000});
}

TEST(LayoutModel, sixteen_granules_in_a_unit) {
  run_model({.stripe_unit_bytes = 64 * 1024,
             .region_bytes = 64 * 1024,
             .regions = {9, 14, 7},
             .steps = 60'000});
}

TEST(LayoutModel, default_units) {
  run_model({.stripe_unit_bytes = kDefaultStripeUnitBytes,
             .region_bytes = 1024 * 1024,
             .regions = {2, 1, 3},
             .steps = 20'000});
}

}  // namespace
}  // namespace rram
