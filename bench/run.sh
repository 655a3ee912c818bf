#!/bin/bash
# Measures mounts of rramfs against each other, against tmpfs and against our front end over memory
# that is not there (null), in one run. See bench/README.md.
set -euo pipefail

BENCH=$(dirname "$(readlink -f "$0")")
ROOT=$(dirname "$BENCH")
# shellcheck source=bench/host.sh
source "$BENCH/host.sh"
# shellcheck source=bench/candidates.sh
source "$BENCH/candidates.sh"
# shellcheck source=bench/jobs.sh
source "$BENCH/jobs.sh"

URING_SWITCH=/sys/module/fuse/parameters/enable_uring
HALT_POLL=/sys/module/haltpoll/parameters/guest_halt_poll_ns

CANDIDATES=()
FRONT_END=auto
FRONT_ENDS=()
SPIKE=
SECONDS_MS=2000
REPEATS=3
FILE_MIB=512
METADATA_FILES=6000 # jobs.sh uses it
ONLY='*'
OUT=
HALT_POLL_NS=
ENGINE=libaio
RRAMFS_OPTIONS=
BUILD=$ROOT/build
BUILDS=1
WORK=
KEYS=()

usage() {
  cat <<'TEXT'
usage: bench/run.sh [OPTION...]      as root

  --quick              0.5 s a job, once, a file of 256 MiB: an impression in minutes
  --seconds N          for each job, candidate and repeat (default 2; 0.5 is possible)
  --repeat N           how often everything is measured (default 3): median and spread
  --size MIB           of the file (default 512); each candidate has a pool of twice that
  --files N            small files of a metadata job (default 6000)
  --only PATTERN       jobs whose name matches, such as 'direct.*4k*'; --list shows the names
  --candidates LIST    of tmpfs,null,local,shm,tcp,tcp2,spike (default: all there are)
  --front-end KIND     io_uring, dev_fuse or both (default: io_uring where the kernel has it)
  --spike PATH         source of the reference that tcp is compared with; built beside
  --engine ENGINE      of fio for more than one request in flight: libaio (default), io_uring
  --options LIST       more -o options for rramfs, such as stripe=1M
  --halt-poll NS       for the run: how long an idle virtual CPU polls before it halts
  --build DIR          a build of this tree (default: build); made up to date first
  --no-build           take the programs in the build directory as they are
  --out DIR            leaves the table, and everything raw as JSON, there
TEXT
}

# A number of seconds with decimals, in milliseconds.
milliseconds() {
  [[ $1 =~ ^[0-9]+(\.[0-9]+)?$ ]] || fail "--seconds takes a number, not '$1'"
  awk -v seconds="$1" 'BEGIN { printf "%d", seconds * 1000 }'
}

positive() {
  [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "$1 takes a number above 0, not '$2'"
  echo "$2"
}

parse_options() {
  while [[ $# -gt 0 ]]; do
    case $1 in
      --quick) SECONDS_MS=500 REPEATS=1 FILE_MIB=256 METADATA_FILES=2000 ;;
      --no-build) BUILDS=0 ;;
      --list) job_table | cut -d ' ' -f 1 && exit ;;
      -h | --help) usage && exit ;;
      --*)
        [[ $# -ge 2 ]] || fail "$1 needs a value, or is no option; see --help"
        parse_value "$1" "$2"
        shift
        ;;
      *) fail "'$1' is no option; see --help" ;;
    esac
    shift
  done
}

parse_value() {
  case $1 in
    --seconds) SECONDS_MS=$(milliseconds "$2") ;;
    --repeat) REPEATS=$(positive "$1" "$2") ;;
    --size) FILE_MIB=$(positive "$1" "$2") ;;
    --files) METADATA_FILES=$(positive "$1" "$2") ;;
    --only) ONLY=$2 ;;
    --candidates) IFS=, read -r -a CANDIDATES <<<"$2" ;;
    --front-end) FRONT_END=$2 ;;
    --spike) SPIKE=$(readlink -e "$2") || fail "there is no $2" ;;
    --engine) ENGINE=$2 ;;
    --options) RRAMFS_OPTIONS=,$2 ;;
    --halt-poll) HALT_POLL_NS=$2 ;;
    --build) BUILD=$2 ;;
    --out) OUT=$2 ;;
    *) fail "'$1' is no option; see --help" ;;
  esac
}

check_host() {
  local program
  [[ $(id -u) -eq 0 ]] || fail "as root please: it mounts, drops caches and sets kernel parameters"
  for program in fio jq python3 pkg-config; do
    command -v "$program" >/dev/null || "$ROOT/tests/install-packages.sh" build test
  done
  [[ -e /dev/fuse ]] || modprobe fuse 2>/dev/null || fail "there is no /dev/fuse"
}

choose_front_ends() {
  local uring=0
  if [[ -e $URING_SWITCH && $FRONT_END != dev_fuse ]]; then
    set_for_the_run "$URING_SWITCH" Y && uring=1
  fi
  case $FRONT_END in
    auto) if ((uring)); then FRONT_ENDS=(io_uring); else FRONT_ENDS=(dev_fuse); fi ;;
    both) FRONT_ENDS=(io_uring dev_fuse) ;;
    io_uring | dev_fuse) FRONT_ENDS=("$FRONT_END") ;;
    *) fail "--front-end takes io_uring, dev_fuse or both, not '$FRONT_END'" ;;
  esac
  if [[ ${FRONT_ENDS[0]} == io_uring ]] && ((!uring)); then
    fail "this kernel has no FUSE over io_uring, or it cannot be enabled ($URING_SWITCH)"
  fi
}

choose_candidates() {
  local name
  if [[ ${#CANDIDATES[@]} -eq 0 ]]; then
    CANDIDATES=(tmpfs "${OUR_CANDIDATES[@]}")
    [[ -z $SPIKE ]] || CANDIDATES+=(spike)
  fi
  for name in "${CANDIDATES[@]}"; do
    [[ " tmpfs spike ${OUR_CANDIDATES[*]} " == *" $name "* ]] || fail "'$name' is no candidate"
    [[ $name != spike || -n $SPIKE ]] || fail "the candidate spike needs --spike PATH"
    mapfile -t -O "${#KEYS[@]}" KEYS < <(keys_of "$name")
  done
  if [[ " ${KEYS[*]} " == *" spike "* ]]; then
    [[ $((FILE_MIB << 20)) -le $SPIKE_BYTES ]] || fail "the spike's file is of 512 MiB: --size 512"
    [[ " ${FRONT_ENDS[*]} " == *" io_uring "* ]] || fail "the spike needs FUSE over io_uring"
  fi
}

check_memory() {
  local need_mib=$((POOL_MIB * ${#KEYS[@]} + 512)) available_mib
  available_mib=$(awk '$1 == "MemAvailable:" { print int($2 / 1024) }' /proc/meminfo)
  [[ $available_mib -gt $need_mib ]] ||
    fail "${#KEYS[@]} candidates need $need_mib MiB, $available_mib are free: see --size"
}

# The programs are copied, so that a build beside does not change them in the middle.
take_programs() {
  local program
  if ((BUILDS)); then
    [[ -f $BUILD/build.ninja ]] || meson setup "$BUILD" "$ROOT" -Dbuildtype=release >&2
    ninja -C "$BUILD" provider/rram-provider fusefs/rramfs bench/rram-metadata >&2
  fi
  mkdir "$WORK/bin"
  for program in provider/rram-provider fusefs/rramfs; do
    cp "$BUILD/$program" "$WORK/bin/" || fail "there is no $BUILD/$program; leave out --no-build"
  done
  cp "$BUILD/bench/rram-metadata" "$WORK/bin/" 2>/dev/null ||
    "${CXX:-g++}" -std=c++23 -O2 -o "$WORK/bin/rram-metadata" "$BENCH/metadata.cc" -lfmt
  if [[ -n $SPIKE ]]; then build_spike; fi
}

git_revision() {
  local revision
  revision=$(git -C "$ROOT" -c safe.directory='*' rev-parse --short HEAD 2>/dev/null) ||
    revision=unknown
  [[ -z $(git -C "$ROOT" -c safe.directory='*' status --porcelain 2>/dev/null) ]] || revision+=+
  echo "$revision"
}

# One fact a line, for the report; what can be asked later is asked there.
write_facts() {
  {
    printf 'date\t%s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
    printf 'revision\t%s\n' "$(git_revision)"
    printf 'rramfs_sha256\t%s\n' "$(sha256sum "$WORK/bin/rramfs" | cut -d ' ' -f 1)"
    printf 'provider_sha256\t%s\n' "$(sha256sum "$WORK/bin/rram-provider" | cut -d ' ' -f 1)"
    printf 'fio\t%s\n' "$(fio --version)"
    printf 'engine\t%s\n' "$ENGINE"
    printf 'halt_poll_ns\t%s\n' "$(cat "$HALT_POLL" 2>/dev/null || echo none)"
    printf 'load_before\t%s\n' "$(cut -d ' ' -f 1-3 /proc/loadavg)"
    printf 'front_ends\t%s\n' "${FRONT_ENDS[*]}"
    printf 'rramfs_options\t%s\n' "${RRAMFS_OPTIONS#,}"
    printf 'seconds\t%s\n' "$((SECONDS_MS / 1000)).$((SECONDS_MS % 1000 / 100))"
    printf 'repeats\t%s\n' "$REPEATS"
    printf 'file_mib\t%s\n' "$FILE_MIB"
    printf 'keys\t%s\n' "${KEYS[*]}"
    printf 'jobs\t%s\n' "$(job_names)"
  } >"$WORK/facts.tsv"
}

job_names() {
  local name rest
  while read -r name rest; do
    # shellcheck disable=SC2053 # a pattern is wanted
    if [[ $name == $ONLY ]]; then printf '%s ' "$name"; fi
  done < <(job_table)
}

start_all() {
  local key
  for key in "${KEYS[@]}"; do
    note "starting $key"
    candidate_start "$key"
    lay_out "$key"
  done
}

# measure_once REPEAT: each job on one candidate after the other, beginning with another one each
# time, so that none has the quiet or the warm moments for itself.
measure_once() {
  local repeat=$1 i key name kind rest
  local -a job
  while read -r -a job; do
    name=${job[0]} kind=${job[1]}
    # shellcheck disable=SC2053
    [[ $name == $ONLY ]] || continue
    note "repeat $repeat of $REPEATS: $name"
    for ((i = 0; i < ${#KEYS[@]}; ++i)); do
      key=${KEYS[(i + repeat - 1) % ${#KEYS[@]}]}
      if job_fits "$key" "$kind"; then run_job "$key" "$repeat" "${job[@]}"; fi
    done
  done < <(job_table)
}

report() {
  printf 'load_after\t%s\n' "$(cut -d ' ' -f 1-3 /proc/loadavg)" >>"$WORK/facts.tsv"
  printf 'took_s\t%s\n' "$SECONDS" >>"$WORK/facts.tsv"
  python3 "$BENCH/report.py" "$WORK" ${OUT:+--out "$OUT"}
}

clean_up() {
  local key pid
  trap '' INT TERM HUP
  set +e
  for pid in "${RUNNING[@]}"; do end_process "$pid"; done
  for key in "${KEYS[@]}"; do candidate_stop "$key"; done
  restore_settings
  # Never through a mount that could not be taken away.
  if [[ -n $WORK ]]; then rm -rf --one-file-system "$WORK"; fi
}

main() {
  local repeat
  parse_options "$@"
  [[ -n $(job_names) ]] || fail "no job is called '$ONLY'; see --list"
  check_host
  mkdir -p /run/lock
  exec 9>/run/lock/rram-bench.lock
  flock -n 9 || fail "another run is measuring on this host"
  trap clean_up EXIT
  trap 'exit 130' INT TERM HUP
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/bench-rramfs.XXXXXX")
  POOL_MIB=$((FILE_MIB * 2))
  choose_front_ends
  choose_candidates
  check_memory
  take_programs
  if [[ -n $HALT_POLL_NS ]]; then
    set_for_the_run "$HALT_POLL" "$HALT_POLL_NS" || fail "$HALT_POLL cannot be set here"
  fi
  write_facts
  start_all
  for ((repeat = 1; repeat <= REPEATS; ++repeat)); do measure_once "$repeat"; done
  report
}

main "$@"
