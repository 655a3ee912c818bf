# shellcheck shell=bash disable=SC2034
# A requester that did not run for a while (stopped, a virtual machine that slept): its provider has
# ended the silent control connection, but keeps the lease. When it wakes, nobody notices.
matrix=once
mode=full
limit_s=90
waits=yes

# More than the missed heartbeats that make a requester silent, less than the grace time after it.
PAUSE_S=13

scenario() {
  local daemon reader
  volume_start 1 64M timeout=2s
  random_file "$WORK/data" 16
  cp "$WORK/data" "$MNT/file"
  sync "$MNT/file"
  daemon=$(daemon_of "$MNT")
  kill -STOP "$daemon"
  sleep "$PAUSE_S"
  dd if="$MNT/file" of="$WORK/got" bs=1M iflag=direct status=none &
  reader=$!
  sleep 0.5
  kill -CONT "$daemon"
  dd if="$WORK/data" of="$MNT/new" bs=1M oflag=direct status=none
  wait "$reader"
  cmp "$WORK/data" "$WORK/got"
  cmp "$WORK/data" "$MNT/new"
  wait_until 10 "the lease is taken up again" grep -q "was taken up again after" "$WORK/daemon1.err"
  ! grep -q "cannot be reached" "$WORK/daemon1.err" || fail "$(cat "$WORK/daemon1.err")"
}
