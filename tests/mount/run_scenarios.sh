#!/bin/bash
# Runs scenarios on real mounts of separate processes, each in its own directory, process group
# and time limit, over transports and front ends.
# usage: run_scenarios.sh [--build DIR] [--quick] [--key] [--slow N] [--filter REGEX]
#                         [--transport T] [--front-end F] [--scenarios DIR] [--list]
#                         [--waiting yes|no] [--no-summary]
# A scenario is a file tests/{process,mount}/scenarios/NAME.sh with a function `scenario` and:
#   matrix=all     every transport with every front end (in a quick run: as cover)
#   matrix=cover   every transport and every front end at least once (in a quick run: as once)
#   matrix=once    tcp over io_uring
#   matrix=none    does not mount, or chooses itself
#   transports="shm tcp"  only these (default: all three)
#   limit_s=N      its time limit in seconds
#   mode=full      not in quick runs
#   key=yes        also run under sanitizers (--key)
#   waits=yes      mostly waits for time to pass: such ones are run last, several at once
#                  (--waiting yes: only these; --waiting no: only the others)
#   needs="a b"    programs without which it is skipped
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
ROOT=$(readlink -f "$here/../..")
# shellcheck source=tests/report.sh
source "$ROOT/tests/report.sh"
# shellcheck source=tests/runner.sh
source "$ROOT/tests/runner.sh"
# shellcheck source=tests/mount/processes.sh
source "$here/processes.sh"

RUN_MODE=full
ONLY_KEY=no
SLOW=1
ONLY_TRANSPORT=.
ONLY_FRONT_END=.
SCENARIO_DIRECTORIES=("$ROOT/tests/process/scenarios" "$here/scenarios")
ENABLE_URING=/sys/module/fuse/parameters/enable_uring
LOCK_FILE=/tmp/rram-scenarios.lock
LOCK=
SCRATCH=
WAITING=() # the words of run_one for each scenario that mostly waits
AT_ONCE=3  # of them
ONLY_WAITING=.

parse_options() {
  while [[ $# -gt 0 ]]; do
    if take_option "$@"; then
      shift "$TAKEN"
      continue
    fi
    case $1 in
      --quick) RUN_MODE=quick ;;
      --key) ONLY_KEY=yes ;;
      --slow) SLOW=$2 && shift ;;
      --waiting) ONLY_WAITING=$2 && shift ;;
      --transport) ONLY_TRANSPORT=$2 && shift ;;
      --front-end) ONLY_FRONT_END=$2 && shift ;;
      *)
        echo "run_scenarios.sh: unknown option $1" >&2
        exit 2
        ;;
    esac
    shift
  done
}

combinations_of() {
  local width=$1
  if [[ $RUN_MODE == quick || $ONLY_KEY == yes ]]; then
    case $width in
      all) width=cover ;;
      cover) width=once ;;
    esac
  fi
  case $width in
    all) printf '%s\n' {local,shm,tcp}' '{io_uring,dev_fuse} ;;
    cover) printf '%s\n' 'local io_uring' 'shm dev_fuse' 'tcp io_uring' ;;
    once) echo 'tcp io_uring' ;;
    none) echo '- -' ;;
    *)
      echo "a scenario has an unknown matrix '$1'" >&2
      exit 2
      ;;
  esac
}

# settings_of FILE: "matrix limit_s mode key waits transports(by commas) needs..." as the file sets
# them.
settings_of() (
  matrix=once limit_s=60 mode=quick key=no waits=no transports="local shm tcp -" needs=
  # shellcheck source=/dev/null
  source "$1"
  echo "$matrix $limit_s $mode $key $waits ${transports// /,} $needs"
)

is_wanted() {
  local mode=$1 key=$2 waits=$3
  [[ $RUN_MODE == full || $mode == quick ]] && [[ $ONLY_KEY == no || $key == yes ]] &&
    [[ $waits =~ $ONLY_WAITING ]]
}

# Why a scenario cannot run here; empty when it can.
obstacle() {
  local front_end=$1 missing
  shift
  missing=$(missing_program "$@")
  [[ -z $missing ]] || { echo "$missing" && return; }
  sees_processes || { echo "no CAP_SYS_PTRACE, so what a scenario leaves is not seen" && return; }
  [[ $front_end != - ]] || return 0
  [[ -w /dev/fuse ]] || { echo "no /dev/fuse here" && return; }
  if [[ $front_end == io_uring ]] && ! grep -qs Y "$ENABLE_URING"; then
    echo "this kernel does not offer FUSE over io_uring"
  fi
}

# The switch is the host's. Several runs at once share a lock; the last one puts it back.
allow_uring() {
  [[ -w $ENABLE_URING ]] || return 0
  exec {LOCK}<>"$LOCK_FILE"
  flock -s "$LOCK"
  [[ $(cat "$ENABLE_URING") == Y ]] || echo N >"$LOCK_FILE"
  echo Y >"$ENABLE_URING" || true
}

restore_uring() {
  [[ -n $LOCK ]] && flock -n -x "$LOCK" || return 0
  if [[ $(cat "$LOCK_FILE") == N ]]; then echo N >"$ENABLE_URING"; fi
  : >"$LOCK_FILE"
}

at_exit() {
  wait # for scenarios that still run: they are ended by their time limits
  restore_uring
  [[ -z $SCRATCH ]] || rm -rf --one-file-system "$SCRATCH"
}

# Sanitizer reports of daemons go to files: their standard error is not always open.
sanitizer_settings() {
  export ASAN_OPTIONS="log_path=$1/sanitizer:detect_leaks=1:${ASAN_OPTIONS_MORE:-}"
  export UBSAN_OPTIONS="log_path=$1/sanitizer:print_stacktrace=1:halt_on_error=1"
  export TSAN_OPTIONS="log_path=$1/sanitizer:second_deadlock_stack=1"
  TSAN_OPTIONS+=":suppressions=$ROOT/tests/tsan_suppressions.txt:${TSAN_OPTIONS_MORE:-}"
}

# start_scenario FILE WORK TRANSPORT FRONT_END LIMIT_S
start_scenario() (
  export BUILD ROOT RUN_MODE SLOW WORK=$2 MNT=$2/mnt TRANSPORT=$3 FRONT_END=$4 RRAM_RESULTS
  sanitizer_settings "$2"
  # What is left of a scenario must not hold the lock.
  if [[ -n $LOCK ]]; then exec {LOCK}>&-; fi
  # timeout(1) makes a process group of its own and ends all of it.
  exec timeout -k 5 $(($5 * SLOW)) env "RRAM_TOKEN=$RRAM_TOKEN" "$here/scenario_shell.sh" "$1" \
    >"$2/log" 2>&1 </dev/null
)

# What a scenario left behind ends here, however it ended itself. False: not by itself.
clean_up_after() {
  local work=$1 status=0
  detach_all_below "$work"
  if ! end_processes "$RRAM_TOKEN"; then
    echo "FAILED: processes had to be killed" >>"$work/log"
    status=1
  fi
  detach_all_below "$work"
  return "$status"
}

# daemon_logs WORK LINES
daemon_logs() {
  local file
  for file in "$1"/*.err "$1"/sanitizer.*; do
    if [[ -s $file ]]; then
      echo "[$(basename "$file")]"
      tail -n "$2" "$file"
    fi
  done
}

# judge NAME STATUS WORK START_MS
judge() {
  local name=$1 status=$2 work=$3 start=$4
  if [[ $status -eq 77 ]]; then
    report_skip "$name" "$(cat "$work/skip-reason")"
    return
  fi
  if [[ $status -eq 0 ]] && ! compgen -G "$work/sanitizer.*" >/dev/null; then
    report_pass "$name" "$start"
    return
  fi
  case $status in
    0) echo "FAILED: a sanitizer complained" >>"$work/log" ;;
    124 | 137) echo "FAILED: over the time limit" >>"$work/log" ;;
  esac
  mkdir -p "$BUILD/scenario-logs"
  { cat "$work/log" && daemon_logs "$work" 200; } >"$BUILD/scenario-logs/$name.log"
  report_fail "$name" "$work/log"
  daemon_logs "$work" 6 | cut -c 1-300 | sed 's/^/    | /'
  echo "    whole log: $BUILD/scenario-logs/$name.log"
}

run_one() {
  local file=$1 name=$2 transport=$3 front_end=$4 limit_s=$5 work start status=0
  work=$SCRATCH/$name
  mkdir "$work"
  RRAM_TOKEN=$(basename "$SCRATCH").$name
  start=$(now_ms)
  start_scenario "$file" "$work" "$transport" "$front_end" "$limit_s" || status=$?
  # A daemon that no request to end can end is no success, whatever the scenario saw.
  if ! clean_up_after "$work" && [[ $status -eq 0 || $status -eq 77 ]]; then status=1; fi
  judge "$name" "$status" "$work" "$start"
  rm -rf --one-file-system "$work"
}

run_waiting() {
  local one said
  for one in "${WAITING[@]}"; do
    while (($(jobs -rp | wc -l) >= AT_ONCE)); do wait -n || true; done
    {
      # shellcheck disable=SC2086 # a list of words
      said=$(run_one $one)
      echo "$said" # in one piece
    } &
  done
  wait
}

run_file() {
  local file=$1 name full transport front_end matrix limit_s mode key waits transports needs why
  name=$(basename "$file" .sh)
  read -r matrix limit_s mode key waits transports needs < <(settings_of "$file")
  is_wanted "$mode" "$key" "$waits" || return 0
  while read -r transport front_end; do
    [[ ,$transports, == *,$transport,* ]] || continue
    full=$name
    [[ $transport == - ]] || full=$name.$transport.$front_end
    [[ $full =~ $FILTER && $transport =~ $ONLY_TRANSPORT && $front_end =~ $ONLY_FRONT_END ]] ||
      continue
    if [[ $ONLY_LIST == yes ]]; then
      echo "$full"
      continue
    fi
    # shellcheck disable=SC2086 # a list of words
    why=$(obstacle "$front_end" $needs)
    if [[ -n $why ]]; then
      report_skip "$full" "$why"
    elif [[ $waits == yes ]]; then
      WAITING+=("$file $full $transport $front_end $limit_s")
    else
      run_one "$file" "$full" "$transport" "$front_end" "$limit_s"
    fi
  done < <(combinations_of "$matrix")
}

main() {
  local file directory
  parse_options "$@"
  open_results
  trap at_exit EXIT
  trap 'exit 130' INT TERM
  SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/rram-scenarios.XXXXXX")
  [[ $ONLY_LIST == yes ]] || allow_uring
  for directory in "${SCENARIO_DIRECTORIES[@]}"; do
    for file in "$directory"/*.sh; do run_file "$file"; done
  done
  run_waiting
  [[ $ONLY_LIST == yes || $SUMMARY == no ]] || count_results "$RRAM_RESULTS"
}

# In one piece: the file may change while it runs.
{
  main "$@"
  exit
}
