# shellcheck shell=bash disable=SC2034
# Processes that are interrupted thousands of times while their requests are under way: every
# INTERRUPT crosses a reply somewhere, and none may disturb another request.
matrix=cover
limit_s=120
key=yes

scenario() {
  local -a writers=()
  local n
  volume_start 2 256M
  step "three processes write and read under a storm of signals"
  for n in 1 2 3; do
    python3 "$ROOT/tests/mount/signal_storm.py" "$MNT/file$n" "$n" &
    writers+=($!)
  done
  for n in "${writers[@]}"; do
    wait "$n" || fail "a process failed under signals"
  done
  step "the mount is as before"
  rm "$MNT"/file*
  echo still here >"$MNT/after"
  expect_equal "a file" "$(cat "$MNT/after")" "still here"
}
