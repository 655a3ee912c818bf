# shellcheck shell=bash disable=SC2034,SC2016,SC2153
# What two hosts lend is one file system on a third: its size, every byte of it, and its end.
limit_s=240
transports="tcp verbs"
needs="fio tar"

# verify NAME OPTIONS...: on the requester.
verify() {
  local name=$1
  shift
  fio --name="$name" --directory="$MNT" --verify=crc32c --verify_fatal=1 --do_verify=1 \
    --randrepeat=0 --minimal "$@" >"$WORK/fio.out" 2>&1 ||
    fail "fio $name: $(tail -n 5 "$WORK/fio.out")"
  rm -f "$MNT/$name".*
}

pack() {
  tar --sort=name --format=posix --numeric-owner \
    --pax-option=exthdr.name=%d/%f,delete=atime,delete=ctime -C "$1" -c .
}

# On the requester.
tar_round_trip() {
  local before after
  mkdir "$WORK/source" "$MNT/unpacked"
  cp -a /usr/include/linux/netfilter* "$WORK/source/"
  random_file "$WORK/source/random" 16
  ln -s random "$WORK/source/symlink"
  ln "$WORK/source/random" "$WORK/source/hard-link"
  before=$(pack "$WORK/source" | sha256sum)
  pack "$WORK/source" | tar -x --same-permissions -C "$MNT/unpacked"
  drop_caches
  after=$(pack "$MNT/unpacked" | sha256sum)
  expect_equal "checksum of the archive" "$after" "$before"
  rm -r "$MNT/unpacked"
}

# On the requester.
exercise() {
  "$EXERCISER" --dir "$MNT/exerciser" --operations 3000 --processes 2 --seed "$1" --time-limit 90
}

scenario() {
  step "df"
  volume_start 256M
  expect_equal "size" "$(on requester 'total_bytes_of "$MNT"')" $((512 * 1024 * 1024))
  step "fio"
  on requester verify sequential --rw=write --bs=1m --size=32M --direct=1 --ioengine=libaio --iodepth=4
  on requester verify random --rw=randwrite --bs=4k --size=8M --direct=1 --ioengine=libaio --iodepth=16
  on requester verify small --rw=write --bs=512 --size=1M --ioengine=psync --end_fsync=1
  step "tar"
  on -t 90 requester tar_round_trip
  step "exerciser"
  on -t 120 requester exercise "$RANDOM$RANDOM"
  step "detach"
  on requester detach
  wait_until "$RETURN_S" "all memory is back at p1" provider_is_idle p1
  wait_until "$RETURN_S" "all memory is back at p2" provider_is_idle p2
  expect_equal "free bytes of p1" "$(provider_counter p1 free_bytes)" $((256 * 1024 * 1024))
  expect_equal "free bytes of p2" "$(provider_counter p2 free_bytes)" $((256 * 1024 * 1024))
}
