# shellcheck shell=bash disable=SC2034
# Writers of SQLite databases are killed at random points: no acknowledged commit is lost, no database
# damaged. SQLITE_KILLS=500 does it more often, SQLITE_SEED=S with the same chances again.
matrix=once
limit_s=$((240 + 10 * ${SQLITE_KILLS:-0}))
needs="python3"

scenario() {
  local mode kills=4
  [[ $RUN_MODE == quick ]] || kills=8
  volume_start 2 256M
  for mode in delete truncate wal; do
    step "journal mode $mode"
    python3 "$ROOT/tests/mount/sqlite_killed.py" "$MNT/$mode.db" "$mode" "${SQLITE_KILLS:-$kills}" \
      "${SQLITE_SEED:-$RANDOM$RANDOM}"
  done
}
