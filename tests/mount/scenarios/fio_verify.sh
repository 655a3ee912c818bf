# shellcheck shell=bash disable=SC2034
# fio writes, reads back and checks: sequential, random, several sizes; direct, buffered, mapped.
matrix=all
limit_s=240
needs="fio"

# verify NAME OPTIONS...
verify() {
  local name=$1
  shift
  step "$name"
  fio --name="$name" --directory="$MNT" --size="$SIZE" --verify=crc32c --verify_fatal=1 \
    --do_verify=1 --randrepeat=0 --minimal "$@" >"$WORK/fio.out" 2>&1 ||
    fail "fio $name: $(tail -n 5 "$WORK/fio.out")"
  rm -f "$MNT/$name".*
}

scenario() {
  SIZE=24M
  [[ $RUN_MODE == quick ]] || SIZE=64M
  volume_start 2 256M
  verify sequential-direct --rw=write --bs=1m --direct=1 --ioengine=io_uring --iodepth=4
  verify random-direct --rw=randwrite --bs=4k --direct=1 --ioengine=io_uring --iodepth=32
  verify odd-direct --rw=randrw --bsrange=4k-260k --blockalign=4k --direct=1 --ioengine=io_uring \
    --iodepth=8
  verify sequential-buffered --rw=write --bs=128k --ioengine=psync
  verify random-buffered --rw=randwrite --bsrange=512-64k --ioengine=psync --end_fsync=1
  verify random-mapped --rw=randwrite --bs=4k --ioengine=mmap
  verify several-jobs --rw=randwrite --bs=16k --ioengine=psync --numjobs=4 --size=16M --group_reporting
}
