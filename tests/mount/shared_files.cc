#include "tests/mount/shared.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "tests/mount/verify.h"

namespace rram::exerciser {

namespace {

constexpr uint64_t kRangeBytes = 3001;  // no divisor of a page: neighbours share pages
constexpr uint64_t kReadEvery = 4;      // operations
constexpr uint64_t kAppendEvery = 8;    // operations

struct Step {
  uint64_t offset = 0;
  uint64_t length = 0;
  uint64_t tag = 0;
  bool by_mapping = false;
};

// The steps of one worker, the same for whoever asks.
class Steps {
 public:
  Steps(const SharedPlan& plan, uint32_t worker)
      : plan_(plan), worker_(worker), chance_(mix(plan.seed, 0x5a5a + worker)) {}

  Step next() {
    const uint64_t ranges = plan_.file_bytes / kRangeBytes / plan_.workers;
    const uint64_t range = chance_.below(ranges) * plan_.workers + worker_;
    const uint64_t within = chance_.below(kRangeBytes);
    return {.offset = range * kRangeBytes + within,
            .length = chance_.between(1, kRangeBytes - within),
            .tag = chance_.next(),
            .by_mapping = chance_.one_in(3)};
  }

 private:
  const SharedPlan& plan_;
  uint32_t worker_;
  Chance chance_;
};

struct RecordHeader {
  uint32_t worker;
  uint32_t sequence;
  uint64_t length;  // of what follows
};

uint64_t record_tag(const SharedPlan& plan, uint32_t worker, uint32_t sequence) {
  return mix(plan.seed, (uint64_t{worker} << 32U) | sequence);
}

uint64_t record_length(uint64_t tag) { return tag % 700; }

std::string ranges_path(const SharedPlan& plan) { return plan.directory + "/shared-ranges"; }
std::string records_path(const SharedPlan& plan) { return plan.directory + "/shared-records"; }

// All of a shared file mapped by one worker.
class SharedMapping {
 public:
  SharedMapping(int fd, uint64_t length)
      : length_(length), base_(mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) {}
  SharedMapping(const SharedMapping&) = delete;
  SharedMapping& operator=(const SharedMapping&) = delete;
  ~SharedMapping() {
    if (ok()) munmap(base_, length_);
  }
  bool ok() const { return base_ != MAP_FAILED; }
  std::byte* at(uint64_t offset) const { return static_cast<std::byte*>(base_) + offset; }

 private:
  uint64_t length_;
  void* base_;
};

void do_step(World& world, const Step& step, int fd, const SharedMapping& mapping) {
  const auto data = world.data.first(step.length);
  fill_pattern(step.tag, data);
  if (step.by_mapping && mapping.ok()) {
    world.note("shared mmap write offset {} length {}", step.offset, step.length);
    std::memcpy(mapping.at(step.offset), data.data(), data.size());
    return;
  }
  world.note("shared pwrite offset {} length {}", step.offset, step.length);
  const ssize_t written = world.storage.write_at(fd, data, step.offset);
  if (written != static_cast<ssize_t>(data.size())) {
    disagree("shared pwrite at {}: {} of {}: {}", step.offset, written, data.size(),
             std::strerror(errno));
  }
}

void read_back(World& world, const Step& step, const FileContent& expected, int fd) {
  const auto out = world.readback.first(step.length);
  const ssize_t got = pread(fd, out.data(), out.size(), static_cast<off_t>(step.offset));
  if (got != static_cast<ssize_t>(step.length)) {
    disagree("shared pread at {}: {} of {}", step.offset, got, step.length);
  }
  expect_bytes(expected, step.offset, out, "shared file");
}

void append_record(World& world, const SharedPlan& plan, uint32_t worker, uint32_t sequence,
                   int fd) {
  const uint64_t tag = record_tag(plan, worker, sequence);
  const RecordHeader header{worker, sequence, record_length(tag)};
  std::vector<std::byte> record(sizeof(header) + header.length);
  std::memcpy(record.data(), &header, sizeof(header));
  fill_pattern(tag, std::span(record).subspan(sizeof(header)));
  world.note("append record {} length {}", sequence, record.size());
  const ssize_t written = write(fd, record.data(), record.size());
  if (written != static_cast<ssize_t>(record.size())) {
    disagree("append of a record: {} of {}: {}", written, record.size(), std::strerror(errno));
  }
}

std::vector<std::byte> read_whole(const std::string& path) {
  const OwnedFd fd = open_shared(path, O_RDONLY);
  drop_cached_pages(fd.get());
  std::vector<std::byte> bytes(static_cast<size_t>(lseek(fd.get(), 0, SEEK_END)));
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got =
        pread(fd.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (got <= 0) disagree("read {} at {}: {}", path, done, std::strerror(errno));
    done += static_cast<size_t>(got);
  }
  return bytes;
}

// Every record is whole, and those of one worker are in their order.
void verify_records(const SharedPlan& plan) {
  const std::vector<std::byte> bytes = read_whole(records_path(plan));
  std::vector<uint32_t> next_sequence(plan.workers, 0);
  size_t offset = 0;
  while (offset < bytes.size()) {
    RecordHeader header{};
    if (bytes.size() - offset < sizeof(header)) disagree("half a record at {}", offset);
    std::memcpy(&header, bytes.data() + offset, sizeof(header));
    if (header.worker >= plan.workers || header.sequence != next_sequence[header.worker]) {
      disagree("shared-records at {}: worker {} sequence {} is out of order", offset, header.worker,
               header.sequence);
    }
    const uint64_t tag = record_tag(plan, header.worker, header.sequence);
    const auto rest = std::span<const std::byte>(bytes).subspan(offset + sizeof(header));
    std::vector<std::byte> expected(record_length(tag));
    fill_pattern(tag, expected);
    if (header.length != expected.size() || rest.size() < expected.size() ||
        !std::ranges::equal(expected, rest.first(expected.size()))) {
      disagree("shared-records: first differing offset near {}: worker {} record {} is damaged",
               offset, header.worker, header.sequence);
    }
    ++next_sequence[header.worker];
    offset += sizeof(header) + expected.size();
  }
  const uint64_t expected_records = plan.operations_per_worker / kAppendEvery;
  for (const uint32_t count : next_sequence) {
    if (count != expected_records) {
      disagree("shared-records: {} records of a worker, expected {}", count, expected_records);
    }
  }
}

void create(const SharedPlan& plan) {
  const OwnedFd ranges = open_shared(ranges_path(plan), O_RDWR | O_CREAT | O_EXCL);
  if (ftruncate(ranges.get(), static_cast<off_t>(plan.file_bytes)) != 0) {
    disagree("ftruncate: {}", std::strerror(errno));
  }
  const OwnedFd records = open_shared(records_path(plan), O_RDWR | O_CREAT | O_EXCL);
}

void work(World& world, const SharedPlan& plan, uint32_t worker) {
  const OwnedFd ranges = open_shared(ranges_path(plan), O_RDWR);
  const OwnedFd records = open_shared(records_path(plan), O_WRONLY | O_APPEND);
  const SharedMapping mapping(ranges.get(), plan.file_bytes);
  Steps steps(plan, worker);
  FileContent mine;
  mine.resize(plan.file_bytes);
  uint32_t records_written = 0;
  for (uint64_t i = 1; i <= plan.operations_per_worker; ++i) {
    ++world.operation;
    const Step step = steps.next();
    do_step(world, step, ranges.get(), mapping);
    std::vector<std::byte> written(step.length);
    fill_pattern(step.tag, written);
    mine.write(step.offset, written);
    if (i % kReadEvery == 0) read_back(world, step, mine, ranges.get());
    if (i % kAppendEvery == 0) {
      append_record(world, plan, worker, records_written++, records.get());
    }
  }
}

void verify(World& world, const SharedPlan& plan) {
  FileModel expected;
  expected.content.resize(plan.file_bytes);
  std::vector<std::byte> data(kRangeBytes);
  for (uint32_t worker = 0; worker < plan.workers; ++worker) {
    Steps steps(plan, worker);
    for (uint64_t i = 0; i < plan.operations_per_worker; ++i) {
      const Step step = steps.next();
      const auto piece = std::span(data).first(step.length);
      fill_pattern(step.tag, piece);
      expected.content.write(step.offset, piece);
    }
  }
  const OwnedFd fd = open_shared(ranges_path(plan), O_RDWR);
  verify_file(world, fd.get(), expected, "shared-ranges");
  drop_cached_pages(fd.get());
  verify_file(world, fd.get(), expected, "shared-ranges (read again from storage)");
  verify_records(plan);
}

}  // namespace

SharedPart shared_files() { return {"files", create, work, verify}; }

OwnedFd open_shared(const std::string& path, int flags) {
  OwnedFd fd(open(path.c_str(), flags | O_CLOEXEC, 0644));
  if (fd.get() < 0) disagree("open {}: {}", path, std::strerror(errno));
  return fd;
}

}  // namespace rram::exerciser
