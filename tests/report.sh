# shellcheck shell=bash
# How every check of the tests says how it went. Sourced. One line a check goes to the screen and,
# as "passed|failed|skipped TAB name TAB reason", to the file $RRAM_RESULTS, which is counted.

: "${RRAM_RESULTS:=/dev/null}"

now_ms() {
  echo $((${EPOCHREALTIME/./} / 1000))
}

seconds_since_ms() {
  local took=$(($(now_ms) - $1))
  printf '%d.%d s' $((took / 1000)) $((took % 1000 / 100))
}

# report_pass NAME START_MS
report_pass() {
  echo "PASS $1 ($(seconds_since_ms "$2"))"
  printf 'passed\t%s\t\n' "$1" >>"$RRAM_RESULTS"
}

# report_fail NAME [LOG_FILE]
report_fail() {
  echo "FAIL $1"
  [[ ! -s ${2:-} ]] || tail -n "${RRAM_LOG_LINES:-25}" "$2" | sed 's/^/    | /'
  printf 'failed\t%s\t\n' "$1" >>"$RRAM_RESULTS"
}

# report_skip NAME REASON
report_skip() {
  echo "SKIP $1: $2"
  printf 'skipped\t%s\t%s\n' "$1" "$2" >>"$RRAM_RESULTS"
}

# missing_program NAME...: why what needs these programs is skipped; empty when all are here.
missing_program() {
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null || { echo "no $program here" && return; }
  done
}

# report_unit NAME PASSED FAILED SKIPPED REASON: a suite that counts its own tests.
report_unit() {
  local i
  if [[ $4 -gt 0 ]]; then echo "SKIP $1: $4 tests: $5"; fi
  {
    for ((i = 0; i < $2; ++i)); do printf 'passed\t%s\t\n' "$1"; done
    for ((i = 0; i < $3; ++i)); do printf 'failed\t%s\t\n' "$1"; done
    for ((i = 0; i < $4; ++i)); do printf 'skipped\t%s: %s tests\t%s\n' "$1" "$4" "$5"; done
  } >>"$RRAM_RESULTS"
}

# run_check NAME COMMAND...: a check is a command; 77 means it cannot run here.
run_check() {
  local name=$1 start log status=0
  shift
  start=$(now_ms)
  log=$(mktemp)
  "$@" >"$log" 2>&1 || status=$?
  case $status in
    0) report_pass "$name" "$start" ;;
    77) report_skip "$name" "$(tail -n 1 "$log")" ;;
    *) report_fail "$name" "$log" ;;
  esac
  rm -f "$log"
  [[ $status -eq 0 || $status -eq 77 ]]
}

# count_results FILE...: prints the closing line; fails if a check failed or none was done.
count_results() {
  local passed failed skipped
  passed=$(cat "$@" | grep -c '^passed' || true)
  failed=$(cat "$@" | grep -c '^failed' || true)
  skipped=$(cat "$@" | grep -c '^skipped' || true)
  echo "$passed passed, $failed failed, $skipped skipped"
  [[ $failed -eq 0 && $passed -gt 0 ]]
}

# list_not_passed FILE...: what failed and what was left out and why, before the closing line.
list_not_passed() {
  cat "$@" | awk -F '\t' '
    $1 == "failed" { failed[$2]++ }
    $1 == "skipped" && !seen[$2, $3]++ {
      skipped[$3] = skipped[$3] (skipped[$3] == "" ? "" : ", ") $2
    }
    END {
      for (name in failed) print "failed: " name
      for (reason in skipped) print "skipped (" reason "): " skipped[reason]
    }'
}
