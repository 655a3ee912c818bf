# shellcheck shell=bash disable=SC2034
# Neither daemon leaves a core dump, and the pool is marked to be left out of every one.
matrix=none
limit_s=60

cores_here() {
  compgen -G "$WORK/core*" || true
}

abort() {
  kill -ABRT "$1"
  wait_until "$ENDING_S" "the end of process $1" process_gone "$1"
}

# expect_left_out NAME PROCESS: every mapping of the pool that it has is marked so.
expect_left_out() {
  local marks
  marks=$(awk '/memfd:rram-pool/ { inside = 1 } /^VmFlags:/ && inside { print / dd/ ? "out" : "in"; inside = 0 }' \
    "/proc/$2/smaps" | sort | uniq -c | tr -s ' ')
  expect_match "marks of the pool's mappings in $1" "$marks" '^ [0-9]+ out$'
}

scenario() {
  local sleeper daemon
  [[ -w /dev/fuse ]] || skip "no /dev/fuse here"
  ulimit -c unlimited 2>/dev/null || skip "core dumps are forbidden here"
  sleep 60 &
  sleeper=$!
  abort "$sleeper"
  [[ -n $(cores_here) ]] || skip "this host leaves no core dumps in the working directory"
  rm -f "$WORK"/core*

  TRANSPORT=shm
  provider_start p1 64M
  "$RRAMFS" -f "$MNT" -o "providers=unix://$WORK/p1.sock" >"$WORK/mount.out" 2>"$WORK/mount.err" &
  daemon=$!
  wait_until "$ENDING_S" "the mount" is_mounted "$MNT"
  head -c 1M /dev/urandom >"$MNT/file"
  expect_left_out "the provider" "${PROVIDER_PID[p1]}"
  expect_left_out "rramfs" "$daemon"

  step "both are aborted"
  abort "$daemon"
  abort "${PROVIDER_PID[p1]}"
  unset "PROVIDER_PID[p1]"
  expect_equal "core dumps" "$(cores_here)" ""
  fusermount3 -uz "$MNT" 2>/dev/null || true
}
