# shellcheck shell=bash disable=SC2034
# A provider that stalls for less than the deadline is no error; for more it is EIO, in time. Who is
# killed while he waits for it is gone in time too, and a detach meanwhile is heard when it wakes.
matrix=once
limit_s=90
waits=yes

# A requester that asked to leave is believed at once; one that only fell silent has 30 s.
RETURN_S=10
DEADLINE_S=4
# A request may start its last operation two deadlines after it came.
KILLED_S=$((2 * DEADLINE_S + 1))

times_back() {
  grep -c "is back, with its data" "$WORK/daemon1.err" || true
}

is_back_more_often_than() {
  (($(times_back) > $1))
}

scenario() {
  local start process name before
  local -a waiting=()
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

  step "killed while they wait"
  for name in cached direct synced; do cp "$WORK/data" "$MNT/$name"; done
  drop_caches
  kill -STOP "${PROVIDER_PID[p1]}"
  dd if="$MNT/file" of=/dev/null bs=1M iflag=direct status=none &
  waiting+=($!)
  dd if="$MNT/cached" of=/dev/null bs=1M status=none &
  waiting+=($!)
  dd if="$WORK/data" of="$MNT/direct" bs=1M oflag=direct conv=notrunc status=none &
  waiting+=($!)
  dd if="$WORK/data" of="$MNT/synced" bs=1M count=1 conv=notrunc,fsync status=none &
  waiting+=($!)
  sleep 0.5
  kill -KILL "${waiting[@]}"
  start=$(now_ms)
  for process in "${waiting[@]}"; do
    wait_until $((KILLED_S * SLOW)) "process $process is gone" process_gone "$process"
  done
  expect_at_least "milliseconds to spare" \
    $((KILLED_S * 1000 * SLOW - ($(now_ms) - start))) 0

  before=$(times_back)
  kill -CONT "${PROVIDER_PID[p1]}"
  wait_until $((15 * SLOW)) "the provider is back again" is_back_more_often_than "$before"

  step "unmount while it stalls"
  kill -STOP "${PROVIDER_PID[p1]}"
  detach
  kill -CONT "${PROVIDER_PID[p1]}"
}
