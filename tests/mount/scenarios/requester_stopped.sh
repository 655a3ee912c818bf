# shellcheck shell=bash disable=SC2034
# A requester that was stopped for so long that its providers gave it up: when it wakes, what it had
# is an error, and never zeros or somebody else's bytes.
matrix=cover
mode=full
transports="shm tcp"
limit_s=150
waits=yes
key=no

# Longer than missed heartbeats and the grace time of a silent requester together.
GIVEN_UP_S=60

scenario() {
  local daemon status=0
  volume_start 1 64M timeout=2s
  random_file "$MNT/file" 8
  sync "$MNT/file"
  daemon=$(daemon_of "$MNT")
  kill -STOP "$daemon"
  wait_until "$GIVEN_UP_S" "the provider gives the silent requester up" provider_is_idle p1
  step "a reader waits already when the requester wakes"
  dd if="$MNT/file" of="$WORK/got" bs=1M iflag=direct 2>"$WORK/dd.err" &
  local reader=$!
  sleep 0.5
  kill -CONT "$daemon"
  wait "$reader" || status=$?
  expect_at_least "status of the reader" "$status" 1
  expect_match "the reader" "$(cat "$WORK/dd.err")" "Input/output error"
  expect_equal "bytes that it got" "$(stat -c %s "$WORK/got")" 0
  wait_until 10 "the daemon says what happened" grep -q "has lost our" "$WORK/daemon1.err"
  grep "has lost our" "$WORK/daemon1.err"
}
