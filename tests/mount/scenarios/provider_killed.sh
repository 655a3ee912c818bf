# shellcheck shell=bash disable=SC2034
# A provider dies under load: EIO within the deadline on its data, the rest goes on.
matrix=all
transports="shm tcp"
limit_s=120
key=yes

DEADLINE_S=3
MARGIN_S=2

write_small_files() {
  local i
  for ((i = 0; i < 40; ++i)); do random_small "$MNT/small$i"; done
  sync -f "$MNT"
}

random_small() {
  echo "$1" | sha256sum | head -c 60 >"$1"
}

under_load() {
  local i
  for ((i = 0; i < 2; ++i)); do
    (while dd if="$MNT/large" of=/dev/null bs=1M iflag=direct status=none; do :; done) \
      >"$WORK/load$i" 2>&1 &
    LOAD+=($!)
  done
  sleep 1
}

# Each read ends in time; some files are still right, none is wrong.
read_small_files() {
  local i good=0 lost=0 start
  for ((i = 0; i < 40; ++i)); do
    start=$(now_ms)
    if dd if="$MNT/small$i" of="$WORK/got" bs=4k iflag=direct status=none 2>"$WORK/error"; then
      expect_equal "bytes of small$i" "$(cat "$WORK/got")" \
        "$(echo "$MNT/small$i" | sha256sum | head -c 60)"
      good=$((good + 1))
    else
      grep -q "Input/output error" "$WORK/error" || fail "small$i: $(cat "$WORK/error")"
      lost=$((lost + 1))
    fi
    (($(now_ms) - start < (DEADLINE_S + MARGIN_S) * 1000 * SLOW)) || fail "small$i took too long"
  done
  echo "$good files are there, $lost are lost"
  expect_at_least "files that survive" "$good" 5
  expect_at_least "files that are lost" "$lost" 5
}

scenario() {
  local start process
  declare -ga LOAD=()
  volume_start 2 128M timeout=${DEADLINE_S}s
  write_small_files
  dd if=/dev/urandom of="$MNT/large" bs=1M count=64 oflag=direct status=none
  under_load
  step "kill"
  start=$(now_ms)
  provider_kill p2
  for process in "${LOAD[@]}"; do
    wait_until $(((DEADLINE_S + MARGIN_S) * SLOW)) "a reader gets its error" process_gone "$process"
  done
  grep -q "Input/output error" "$WORK/load0" || fail "the reader said: $(cat "$WORK/load0")"
  echo "readers had their error after $(seconds_since_ms "$start")"
  read_small_files
  step "the rest goes on"
  mkdir "$MNT/new-directory"
  mv "$MNT/small0" "$MNT/new-directory/"
  expect_equal "names" "$(find "$MNT" -name 'small*' | wc -l)" 40
  df "$MNT" >/dev/null
  rm -r "$MNT/new-directory" "$MNT/large"
  step "unmount"
  detach
}
