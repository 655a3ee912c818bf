# shellcheck shell=bash disable=SC2034,SC2016,SC2153
# What two hosts lend is one file system on a third: its size, every byte of it, and its end.
limit_s=240
transports="tcp verbs"
needs="fio tar sqlite3"

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
database() {
  local said
  sqlite3 "$MNT/database" >/dev/null <<'SQL'
PRAGMA journal_mode = WAL;
CREATE TABLE entry (id INTEGER PRIMARY KEY, body BLOB);
CREATE INDEX by_body ON entry (body);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
  INSERT INTO entry SELECT i, randomblob(i % 700 + 1) FROM n;
COMMIT;
DELETE FROM entry WHERE id % 3 = 0;
UPDATE entry SET body = randomblob(900) WHERE id % 5 = 0;
SQL
  drop_caches
  said=$(sqlite3 "$MNT/database" "PRAGMA integrity_check; SELECT count(*) FROM entry;")
  expect_equal "the database" "$said" $'ok\n1334'
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
  on requester verify mixed --rw=randrw --bsrange=512-1m --bs_unaligned=1 --size=16M --ioengine=psync
  step "SQLite"
  on -t 60 requester database
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
