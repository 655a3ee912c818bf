#!/bin/bash
# Runs every test program that a build knows, and counts single tests where they are GoogleTest's.
# usage: run_suites.sh --build DIR [--filter REGEX] [--suites REGEX] [--slow N] [--targets]
# A suite runs when its name matches both. --targets prints what ninja must build for them instead.
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
# shellcheck source=tests/report.sh
source "$here/report.sh"

BUILD=
FILTER=.
SUITES=.
SLOW=1
ONLY_TARGETS=no

parse_options() {
  while [[ $# -gt 0 ]]; do
    case $1 in
      --build) BUILD=$(readlink -f "$2") ;;
      --filter) FILTER=$2 ;;
      --suites) SUITES=$2 ;;
      --slow) SLOW=$2 ;;
      --targets) ONLY_TARGETS=yes && shift && continue ;;
      *) echo "run_suites.sh: unknown option $1" >&2 && exit 2 ;;
    esac
    shift 2
  done
}

# Lines "name TAB seconds TAB command as JSON".
list_suites() {
  meson introspect --tests "$BUILD" |
    jq -r '.[] | [.name, (.timeout // 30 | floor), (.cmd | tojson)] | @tsv'
}

# skip_reasons LOG: what GTEST_SKIP() << said, once each.
skip_reasons() {
  grep -A1 -E ': Skipped$' "$1" | grep -vE ': Skipped$|^--$' | sort -u || true
}

# report_gtest NAME JSON LOG STATUS START_MS
report_gtest() {
  local name=$1 report=$2 log=$3 status=$4 start=$5 ran skipped failed reason
  read -r ran skipped failed < <(jq -r '
    [.testsuites[].testsuite[] | select(.status == "RUN")] |
    "\(length) \(map(select(.result == "SKIPPED")) | length) \(map(select(.failures)) | length)"
    ' "$report")
  # A program that crashed at its end has a report without a failure.
  if [[ $status -ne 0 && $failed -eq 0 ]]; then failed=1; fi
  reason=$(skip_reasons "$log" | paste -sd ';' | sed 's/;/; /g')
  report_unit "$name" $((ran - skipped - failed)) "$failed" "$skipped" "${reason:-no reason given}"
  if [[ $failed -gt 0 ]]; then
    echo "FAIL $name: $failed of $ran tests"
    grep -B12 -E '^\[  FAILED  \]' "$log" | tail -n 40 | sed 's/^/    | /' || true
    tail -n 5 "$log" | sed 's/^/    | /'
  else
    echo "PASS $name: $((ran - skipped)) tests ($(seconds_since_ms "$start"))"
  fi
}

run_suite() {
  local name=$1 seconds=$2 start status=0 log report
  local -a command
  mapfile -t command < <(jq -r '.[]' <<<"$3")
  log=$(mktemp) && report=$log.json
  cd "$BUILD" # as meson does: commands name programs of the build by relative paths
  start=$(now_ms)
  GTEST_OUTPUT=json:$report GTEST_COLOR=no timeout -k 5 $((seconds * SLOW)) "${command[@]}" \
    >"$log" 2>&1 </dev/null || status=$?
  if [[ $status -eq 124 || $status -eq 137 ]]; then echo "over the time limit" >>"$log"; fi
  if [[ -s $report ]]; then
    report_gtest "$name" "$report" "$log" "$status" "$start"
  elif [[ $status -eq 0 ]]; then
    report_pass "$name" "$start"
  elif [[ $status -eq 77 ]]; then
    report_skip "$name" "$(tail -n 1 "$log")"
  else
    report_fail "$name" "$log"
  fi
  rm -f "$log" "$report"
}

# A test is a program of the build, or a script with one as its argument.
targets_of() {
  jq -r --arg build "$BUILD/" '
    .[] | ltrimstr($build) | select(startswith("/") or startswith("-") | not)' <<<"$1"
}

sanitizer_settings() {
  export ASAN_OPTIONS="detect_leaks=1:${ASAN_OPTIONS_MORE:-}"
  export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1"
  export TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1"
  TSAN_OPTIONS+=":suppressions=$here/tsan_suppressions.txt:${TSAN_OPTIONS_MORE:-}"
}

main() {
  local name seconds command
  parse_options "$@"
  sanitizer_settings
  while IFS=$'\t' read -r name seconds command; do
    [[ $name =~ $FILTER && $name =~ $SUITES ]] || continue
    if [[ $ONLY_TARGETS == yes ]]; then
      targets_of "$command"
    else
      run_suite "$name" "$seconds" "$command"
    fi
  done < <(list_suites)
}

# In one piece: the file may change while it runs.
{
  main "$@"
  exit
}
