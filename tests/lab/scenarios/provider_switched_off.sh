# shellcheck shell=bash disable=SC2034,SC2016,SC2153
# A provider's host dies under load: EIO within the deadline on its part, the rest goes on.
limit_s=150
transports="tcp verbs"

DEADLINE_S=2
MARGIN_S=4 # everything is emulated, on processors that may be busy
SMALL_FILES=40

content_of() {
  echo "$1 is one of many small files"
}

# On the requester.
write_files() {
  local i
  for ((i = 0; i < SMALL_FILES; ++i)); do content_of "$i" >"$MNT/small$i"; done
  random_file "$MNT/large" 32
  sync -f "$MNT"
}

# On the requester: until the first error.
read_large() {
  while dd if="$MNT/large" of=/dev/null bs=1M iflag=direct status=none; do :; done
}

# On the requester: until the first error.
write_large() {
  while dd if=/dev/zero of="$MNT/written" bs=1M count=16 oflag=direct conv=notrunc status=none; do :; done
}

# within_deadline WHAT COMMAND...: true when it worked; when not, its error must be EIO.
within_deadline() {
  local what=$1 status=0 start
  shift
  start=$(now_ms)
  "$@" 2>"$WORK/error" || status=$?
  [[ $status -eq 0 ]] || grep -q "Input/output error" "$WORK/error" ||
    fail "$what: $(cat "$WORK/error")"
  (($(now_ms) - start < (DEADLINE_S + MARGIN_S) * 1000)) || fail "$what took too long"
  return "$status"
}

# On the requester.
read_small_files() {
  local i good=0 lost=0
  for ((i = 0; i < SMALL_FILES; ++i)); do
    if within_deadline "read of small$i" dd if="$MNT/small$i" of="$WORK/got" bs=4k iflag=direct \
      status=none; then
      expect_equal "bytes of small$i" "$(cat "$WORK/got")" "$(content_of "$i")"
      good=$((good + 1))
    else
      lost=$((lost + 1))
    fi
  done
  echo "$good files are there, $lost are lost"
  expect_at_least "files that survive" "$good" 5
  expect_at_least "files that are lost" "$lost" 5
}

# On the requester.
the_rest_goes_on() {
  mkdir "$MNT/new-directory"
  mv "$MNT/small0" "$MNT/new-directory/"
  expect_equal "names" "$(find "$MNT" -name 'small*' | wc -l)" "$SMALL_FILES"
  df "$MNT" >/dev/null
  rm -r "$MNT/new-directory" "$MNT/large"
}

# On the requester.
works_again() {
  expect_equal "size" "$(total_bytes_of "$MNT")" $((192 * 1024 * 1024))
  random_file "$WORK/data" 16
  cp "$WORK/data" "$MNT/data"
  drop_caches
  cmp "$WORK/data" "$MNT/data"
}

expect_error_in_time() {
  local what=$1 command=$2 start=$3 status=0
  command_wait "$command" $((DEADLINE_S + MARGIN_S)) >"$WORK/said" 2>&1 || status=$?
  [[ $status -ne 124 ]] || fail "$what: no error in time"
  expect_match "$what" "$(cat "$WORK/said")" "Input/output error"
  figure "$what: EIO after $(seconds_since_ms "$start")"
}

scenario() {
  local start reader writer
  volume_start 192M timeout=${DEADLINE_S}s
  on requester write_files
  on_bg requester read_large
  reader=$COMMAND
  on_bg requester write_large
  writer=$COMMAND
  sleep 2
  command_runs "$reader" || fail "the reader ended: $(command_output "$reader")"
  command_runs "$writer" || fail "the writer ended: $(command_output "$writer")"
  step "p2 is switched off"
  start=$(now_ms)
  power_off p2
  expect_error_in_time reader "$reader" "$start"
  expect_error_in_time writer "$writer" "$start"
  on requester read_small_files
  on requester the_rest_goes_on
  on requester expect_no_blocked_process
  step "unmount"
  on requester detach
  step "again, with p1 alone"
  wait_until "$RETURN_S" "all memory is back at p1" provider_is_idle p1
  rramfs_mount "" p1
  on requester works_again
}
