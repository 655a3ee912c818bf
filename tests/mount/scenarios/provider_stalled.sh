# shellcheck shell=bash disable=SC2034
# A provider that stalls for less than the deadline is no error; for more it is EIO, in time.
matrix=once
limit_s=90

# A requester that fell silent may be behind a network that heals: its lease is kept for 30 s.
RETURN_S=45

scenario() {
  local start
  volume_start 2 128M timeout=4s
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

  step "unmount while it still stalls"
  detach
  kill -CONT "${PROVIDER_PID[p1]}"
}
