# shellcheck shell=bash disable=SC2034
# The stripe units of one file go to all providers, about equally: each provider counts its bytes.
# (Over shm nobody counts: the requester reads and writes the memory itself.)
matrix=all
transports=tcp
limit_s=90
key=yes

expect_even() {
  local name got
  for name in p1 p2 p3; do
    got=$(($(provider_counter "$name" "$1") - ${BEFORE[$name]}))
    expect_at_least "$1 of $name" "$got" $((64 * 1024 * 1024 * 9 / 10))
  done
}

remember() {
  local name
  for name in p1 p2 p3; do BEFORE[$name]=$(provider_counter "$name" "$1"); done
}

scenario() {
  declare -gA BEFORE
  volume_start 3 256M
  random_file "$WORK/data" 192
  remember written_bytes
  dd if="$WORK/data" of="$MNT/file" bs=1M oflag=direct status=none
  expect_even written_bytes
  remember read_bytes
  cmp "$WORK/data" <(dd if="$MNT/file" bs=1M iflag=direct status=none)
  expect_even read_bytes
}
