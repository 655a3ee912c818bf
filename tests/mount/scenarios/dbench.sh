# shellcheck shell=bash disable=SC2034
# dbench: the calls that a file server made for office programs, by several clients at once. It fails
# when a call does not end as it did there. DBENCH_SECONDS=60 goes on for longer.
matrix=once
limit_s=$((120 + 4 * ${DBENCH_SECONDS:-2}))
mode=full
needs="dbench"

# run NAME OPTIONS...
run() {
  local name=$1
  shift
  step "$name"
  mkdir "$MNT/$name"
  dbench --directory="$MNT/$name" --timelimit="${DBENCH_SECONDS:-2}" "$@" 4 >"$WORK/dbench.out" 2>&1 ||
    fail "dbench: $(grep -i error "$WORK/dbench.out" | head -n 5)"
  grep ^Throughput "$WORK/dbench.out" || fail "dbench has not come to its end"
  rm -rf "${MNT:?}/$name"
}

scenario() {
  volume_start 2 256M
  run plain
  run synchronous --sync --sync-dir --fsync
  wait_until "$ENDING_S" "all space is free again" all_is_free
}
