# shellcheck shell=bash disable=SC2034
# A provider that stalls for less than the deadline is no error; for more it is EIO, in time. Who is
# killed while he waits for it is gone in time too, and a detach meanwhile is heard when it wakes.
matrix=once
limit_s=90
waits=yes

# A requester that asked to leave is believed at once; one that only fell silent has 30 s.
RETURN_S=10
DEADLINE_S=4

scenario() {
  local start reader
  volume_start 2 128M timeout=${DEADLINE_S}s
  random_file "$WORK/data" 64
  dd if="$WORK/data" of="$MNT/file" bs=1M oflag=direct status=none

  step "shorter than the deadline"
  kill -STOP "${PROVIDER_PID[p1]}"
  (sleep 1.5 && kill -CONT "${PROVIDER_PID[p1]}") &
  cmp "$WORK/data" <(dd if="$MNT/file" bs=1M iflag=direct status=none)

  step "longer than the deadline"
  kill -STOP "${PROVIDER_PID[p1]}"
  start=$(now_ms)
  expect_failure timeout 20 dd if="$MNT/file" of=/dev/null bs=1M iflag=direct status=none
  expect_match "error" "$OUTPUT" "Input/output error"
  expect_at_least "milliseconds to spare" $((7000 * SLOW - ($(now_ms) - start))) 0
  kill -CONT "${PROVIDER_PID[p1]}"
  wait_until 10 "the provider is back" grep -q "is back, with its data" "$WORK/daemon1.err"
  cmp "$WORK/data" <(dd if="$MNT/file" bs=1M iflag=direct status=none)

  step "killed while it waits"
  kill -STOP "${PROVIDER_PID[p1]}"
  dd if="$MNT/file" of=/dev/null bs=1M iflag=direct status=none &
  reader=$!
  sleep 0.5
  kill -KILL "$reader"
  wait_until $(((DEADLINE_S + 1) * SLOW)) "the killed reader is gone" process_gone "$reader"

  step "unmount while it still stalls"
  detach
  kill -CONT "${PROVIDER_PID[p1]}"
}
