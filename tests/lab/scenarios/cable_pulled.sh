# shellcheck shell=bash disable=SC2034,SC2016,SC2153
# A cable that is out for a moment is no error; for longer it is EIO until it is back. TCP sends again
# until the deadline of the operation; an RDMA connection gives its peer up after half a second.
limit_s=180
transports="tcp verbs"

DEADLINE_S=6
MARGIN_S=4
declare -A SHORT_S=([tcp]=2 [verbs]=0)

# On the requester.
write_file() {
  random_file "$WORK/data" 32
  dd if="$WORK/data" of="$MNT/file" bs=1M oflag=direct status=none
}

# On the requester: for so many seconds.
read_and_write_for() {
  local end=$((SECONDS + $1)) rounds=0
  while ((SECONDS < end)); do
    dd if="$WORK/data" of="$MNT/copy" bs=256k count=16 oflag=direct status=none
    cmp -n 4M "$WORK/data" <(dd if="$MNT/copy" bs=256k iflag=direct status=none)
    rounds=$((rounds + 1))
  done
  echo "$rounds rounds"
}

# On the requester.
read_file() {
  dd if="$MNT/file" of="$WORK/got" bs=1M iflag=direct status=none && cmp "$WORK/data" "$WORK/got"
}

file_is_back() {
  on requester read_file
}

scenario() {
  local start load status=0
  volume_start 128M timeout=${DEADLINE_S}s
  on requester write_file

  step "out for a moment"
  on_bg requester read_and_write_for 8
  load=$COMMAND
  sleep 2
  cable_out p1
  sleep "${SHORT_S[$TRANSPORT]}"
  cable_in p1
  command_wait "$load" 60
  on requester read_file

  step "out for longer"
  cable_out p1
  start=$(now_ms)
  on requester read_file >"$WORK/said" 2>&1 || status=$?
  expect_match "error (status $status)" "$(cat "$WORK/said")" "Input/output error"
  figure "read: EIO after $(seconds_since_ms "$start")"
  expect_at_least "milliseconds to spare" \
    $(((DEADLINE_S + MARGIN_S) * 1000 - ($(now_ms) - start))) 0
  on requester expect_no_blocked_process

  step "back"
  cable_in p1
  start=$(now_ms)
  wait_until 30 "the file is back" file_is_back
  figure "read again $(seconds_since_ms "$start") after the cable was in"
}
