#!/bin/bash
# Builds and tests everything: ./test.sh [--quick] [--sanitize address|thread] [--filter REGEX]
# Ends with "N passed, N failed, N skipped"; the exit status is 0 when nothing failed.
set -euo pipefail

ROOT=$(dirname "$(readlink -f "$0")")
# shellcheck source=tests/report.sh
source "$ROOT/tests/report.sh"

usage() {
  cat <<'TEXT'
usage: ./test.sh [OPTIONS]
  --quick              short: fewer combinations of transports and front ends, no long scenarios
  --sanitize KIND      address (with undefined behaviour) or thread: tests a build of that kind
  --filter REGEX       only suites, scenarios and checks whose name matches
  --build DIR          the build directory (default: build, build-asan or build-tsan)
  --lint all           clang-tidy over everything, not only over what changed since the last commit
  --no-lab             without the virtual hosts, which a short or sanitized run never has
  --results FILE       add the results to FILE and print no closing line
TEXT
}

# Suites of what runs on several threads; the others are pure and have none.
THREADED_SUITES='^(base|contract|transport|hostile_peer|provider_server|fusefs|exerciser)$'

QUICK=
SANITIZE=
FILTER=.
LINT=
BUILD=
LAB=yes
RESULTS=
LINT_GROUP=

parse_options() {
  while [[ $# -gt 0 ]]; do
    case $1 in
      --quick) QUICK=--quick ;;
      --sanitize) SANITIZE=$2 && shift ;;
      --filter) FILTER=$2 && shift ;;
      --build) BUILD=$2 && shift ;;
      --lint) LINT=$2 && shift ;;
      --no-lab) LAB=no ;;
      --results) RESULTS=$2 && shift ;;
      -h | --help) usage && exit 0 ;;
      *) usage >&2 && exit 2 ;;
    esac
    shift
  done
  case $SANITIZE in
    "") BUILD=${BUILD:-$ROOT/build} ;;
    address) BUILD=${BUILD:-$ROOT/build-asan} ;;
    thread) BUILD=${BUILD:-$ROOT/build-tsan} ;;
    *) usage >&2 && exit 2 ;;
  esac
}

heading() {
  echo "== $* ($((SECONDS / 60)):$(printf '%02d' $((SECONDS % 60))))"
}

configure() {
  local -a options=(-Dbuildtype=release)
  # -O1 -g1: enough for a report with lines, and compiled in half of the time.
  case $SANITIZE in
    address) options=("-Db_sanitize=address,undefined") ;;
    thread) options=(-Db_sanitize=thread) ;;
  esac
  if [[ -n $SANITIZE ]]; then
    options+=(-Doptimization=1 -Ddebug=false -Dcpp_args=-g1 -Db_lundef=false
      -Dbenchmarks=disabled)
  fi
  if [[ -z ${CXX:-} ]] && command -v ccache >/dev/null; then export CXX="ccache g++"; fi
  [[ -f $BUILD/build.ninja ]] || meson setup "$BUILD" "$ROOT" "${options[@]}" >"$BUILD.log" 2>&1 ||
    { tail -n 20 "$BUILD.log" && return 1; }
  rm -f "$BUILD.log"
}

# ninja keeps one line up to date at a terminal; elsewhere a line in twenty shows that it goes on.
compile() {
  if [[ -t 1 ]]; then
    ninja -C "$BUILD" "$@"
  else
    ninja -C "$BUILD" "$@" | awk '!/^\[[0-9]+\/[0-9]+\]/ || ++lines % 20 == 0 { print; fflush() }'
  fi
}

# What to build: everything, or for the thread sanitizer the programs that have threads.
targets() {
  [[ $SANITIZE == thread ]] || return 0
  echo provider/rram-provider fusefs/rramfs tests/mount/exerciser tests/faults/fault_proxy
  "$ROOT/tests/run_suites.sh" --build "$BUILD" --suites "$THREADED_SUITES" --targets
}

build() {
  local -a wanted
  heading "build in ${BUILD#"$ROOT"/}"
  if configure && mapfile -t wanted < <(targets | tr ' ' '\n' | sort -u) &&
    compile "${wanted[@]}"; then
    return 0
  fi
  report_fail build
  return 1
}

slowness() {
  case $SANITIZE in
    address) echo 4 ;;
    thread) echo 8 ;;
    *) echo 1 ;;
  esac
}

run_suites() {
  heading "test programs"
  local suites=.
  if [[ $SANITIZE == thread ]]; then suites=$THREADED_SUITES; fi
  "$ROOT/tests/run_suites.sh" --build "$BUILD" --filter "$FILTER" --suites "$suites" \
    --slow "$(slowness)"
}

# lint_in_background LOG
lint_in_background() {
  [[ -z $SANITIZE && lint =~ $FILTER ]] || return 0
  # A process group of its own, which a signal to this script can end.
  setsid nice -n 19 "$ROOT/tests/lint/run_lint.sh" ${LINT:+--$LINT} --build "$BUILD" >"$1" 2>&1 &
  LINT_GROUP=$!
  trap 'kill -TERM -- "-$LINT_GROUP" 2>/dev/null || true' EXIT
}

# run_scenarios OPTIONS...
run_scenarios() {
  local -a options=(--build "$BUILD" --filter "$FILTER" --slow "$(slowness)" "$@")
  if [[ -n $QUICK ]]; then options+=(--quick); fi
  if [[ -n $SANITIZE ]]; then options+=(--key); fi
  # A sanitizer makes everything several times slower.
  case $SANITIZE in
    address) export EXERCISER_OPERATIONS=${EXERCISER_OPERATIONS:-200000} ;;
    thread) export EXERCISER_OPERATIONS=${EXERCISER_OPERATIONS:-10000} ;;
  esac
  "$ROOT/tests/mount/run_scenarios.sh" "${options[@]}" --no-summary || true
}

# Those that mostly wait leave the processors to clang-tidy.
run_scenarios_and_lint() {
  local said
  heading "scenarios on real mounts"
  run_scenarios --waiting no
  said=$(mktemp)
  lint_in_background "$said"
  heading "scenarios that mostly wait"
  run_scenarios --waiting yes
  if [[ -n $LINT_GROUP ]]; then
    heading "lint"
    wait "$LINT_GROUP" || true
    LINT_GROUP=
    trap - EXIT
    cat "$said"
  fi
  rm -f "$said"
}

run_lab() {
  local -a options=(--build "$BUILD" --filter "$FILTER")
  [[ $LAB == yes && -z $QUICK && -z $SANITIZE ]] || return 0
  [[ -n $("$ROOT/tests/lab/run_lab.sh" --list "${options[@]}") ]] || return 0
  heading "scenarios on virtual hosts"
  "$ROOT/tests/install-packages.sh" lab || true
  if [[ lab.harness =~ $FILTER ]]; then
    run_check lab.harness "$ROOT/tests/lab/harness_test.sh" --build "$BUILD" || true
  fi
  "$ROOT/tests/lab/run_lab.sh" "${options[@]}" --no-summary || true
}

finish() {
  list_not_passed "$RRAM_RESULTS"
  if [[ -z $RESULTS ]]; then
    count_results "$RRAM_RESULTS"
  elif grep -q '^failed' "$RRAM_RESULTS"; then
    return 1
  fi
}

main() {
  parse_options "$@"
  RRAM_RESULTS=${RESULTS:-$(mktemp)}
  export RRAM_RESULTS
  : >>"$RRAM_RESULTS"
  "$ROOT/tests/install-packages.sh" build test lint
  if build; then
    run_suites
    run_scenarios_and_lint
    run_lab
  fi
  finish
}

# In one piece: the file may change while it runs.
{
  main "$@"
  exit
}
