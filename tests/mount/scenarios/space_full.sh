# shellcheck shell=bash disable=SC2034
# ENOSPC comes exactly when everything is used, and what was deleted can be used again.
matrix=all
limit_s=90
key=yes

MEBIBYTE=$((1024 * 1024))

free_is() {
  [[ $(free_bytes_of "$MNT") == "$1" ]]
}

expect_free() {
  # The first sync after a failed write-back tells of it once more.
  sync -f "$MNT" || true
  wait_until "$ENDING_S" "free is $1 (it is $(free_bytes_of "$MNT"))" free_is "$1"
}

fill_exactly() {
  local free=$1
  dd if=/dev/zero of="$MNT/filler" bs=1M count=$((free / MEBIBYTE)) oflag=direct status=none
  expect_free $((free % MEBIBYTE))
  expect_failure dd if=/dev/zero of="$MNT/more" bs=1M count=1 oflag=direct status=none
  expect_match "error when full" "$OUTPUT" "No space left on device"
  rm -f "$MNT/more"
}

scenario() {
  local total
  volume_start 2 64M
  total=$(total_bytes_of "$MNT")
  expect_equal "total" "$total" $((128 * MEBIBYTE))

  step "df is exact"
  dd if=/dev/urandom of="$MNT/eight" bs=1M count=8 oflag=direct status=none
  expect_free $((total - 8 * MEBIBYTE))
  head -c 100 /dev/urandom >"$MNT/small"
  expect_free $((total - 8 * MEBIBYTE - 4096))
  truncate -s 100G "$MNT/sparse"
  expect_free $((total - 8 * MEBIBYTE - 4096))
  rm "$MNT/eight" "$MNT/small" "$MNT/sparse"
  expect_free "$total"

  step "full, and usable again"
  fill_exactly "$total"
  : >"$MNT/empty-files-still-work"
  rm "$MNT/filler"
  expect_free "$total"
  fill_exactly "$total"
  rm "$MNT/filler"

  step "buffered writes learn of it too"
  expect_failure dd if=/dev/zero of="$MNT/buffered" bs=1M count=200 conv=fsync status=none
  expect_match "error when full" "$OUTPUT" "No space left on device"
  rm "$MNT/buffered"
  expect_free "$total"
  tell_each_once
  expect_free "$total"

  step "many small files fill it to the last granule"
  fill_with_small_files
  rm -r "$MNT/many"
  expect_free "$total"
}

# fsync tells every descriptor once, close tells who never asked (docs/conformance.md).
tell_each_once() {
  python3 - "$MNT/told" <<'PYTHON'
import errno, os, sys
MEBIBYTE = bytes(1 << 20)

def outcome(call, *arguments):
    try:
        call(*arguments)
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]

def overfill():
    descriptor = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
    for _ in range(200):
        assert os.write(descriptor, MEBIBYTE) == len(MEBIBYTE)
    return descriptor

def expect(what, got, *wanted):
    assert got == list(wanted), f"{what}: {got}"

other = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
writer = overfill()
expect("the writer", [outcome(os.fsync, writer) for _ in range(2)], "ENOSPC", "ok")
expect("another", [outcome(os.fsync, other) for _ in range(2)], "ENOSPC", "ok")
late = os.open(sys.argv[1], os.O_RDWR)
expect("a late one", [outcome(os.fsync, late)], "ok")
expect("their end", [outcome(os.close, fd) for fd in (writer, other, late)], "ok", "ok", "ok")
os.unlink(sys.argv[1])

expect("who only closes", [outcome(os.close, overfill())], "ENOSPC")
os.unlink(sys.argv[1])
PYTHON
}

fill_with_small_files() {
  mkdir "$MNT/many"
  dd if=/dev/zero of="$MNT/many/filler" bs=1M count=120 oflag=direct status=none
  python3 - "$MNT/many" <<'PYTHON'
import os, sys
block = memoryview(bytearray(4096))
count = 0
try:
    while True:
        fd = os.open(f"{sys.argv[1]}/{count}", os.O_CREAT | os.O_WRONLY)
        try:
            os.write(fd, block)
            os.fsync(fd)
        finally:
            os.close(fd)
        count += 1
except OSError as error:
    assert error.errno == 28, error
assert count == 8 * 256, f"{count} files of 4 KiB fitted into 8 MiB"
PYTHON
}
