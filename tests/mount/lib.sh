# shellcheck shell=bash
# shellcheck disable=SC2034 # others use what is set here
# What a scenario may use. Sourced by scenario_shell.sh, which runs one scenario in a process of
# its own with these set by run_scenarios.sh:
#   WORK        an empty directory, not on the mount; removed afterwards
#   MNT         the usual mount point, below WORK
#   BUILD       the build directory         ROOT        the source tree
#   TRANSPORT   local, shm or tcp           FRONT_END   io_uring or dev_fuse
#   RUN_MODE    quick or full               SLOW        1, or more under sanitizers
# A scenario fails when a command fails, by `fail`, or when it does not end in time.

RRAM_PROVIDER=$BUILD/provider/rram-provider
RRAMFS=$BUILD/fusefs/rramfs
EXERCISER=$BUILD/tests/mount/exerciser
STATUS_SKIP=77
ENDING_S=$((15 * SLOW)) # the time a daemon has for its orderly end
RETURN_S=$ENDING_S      # the time until all memory is back at a provider, after the last detach

fail() {
  echo "FAILED: $*"
  exit 1
}

skip() {
  echo "$*" >"$WORK/skip-reason"
  exit "$STATUS_SKIP"
}

step() {
  echo "--- $*"
}

# expect_equal WHAT GOT EXPECTED
expect_equal() {
  [[ $2 == "$3" ]] || fail "$1: got '$2', expected '$3'"
}

# expect_at_least WHAT GOT LOWEST
expect_at_least() {
  (($2 >= $3)) || fail "$1: got $2, expected at least $3"
}

# expect_match WHAT TEXT REGEX
expect_match() {
  [[ $2 =~ $3 ]] || fail "$1: '$2' does not match '$3'"
}

# expect_failure COMMAND...: must not succeed; its words are left in $OUTPUT.
expect_failure() {
  local status=0
  OUTPUT=$("$@" 2>&1) || status=$?
  [[ $status -ne 0 ]] || fail "succeeded, but must not: $* (it said: $OUTPUT)"
  # A command that died by a signal did not fail in an orderly way.
  [[ $status -lt 124 ]] || fail "ended with status $status: $* (it said: $OUTPUT)"
}

# wait_until SECONDS WHAT COMMAND...
wait_until() {
  local deadline=$(($(now_ms) + $1 * 1000)) what=$2
  shift 2
  until "$@"; do
    (($(now_ms) < deadline)) || fail "not in time: $what"
    sleep 0.05
  done
}

process_gone() {
  local state
  state=$(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null) || return 0
  [[ $state == Z || -z $state ]]
}

# No process of this scenario is in a sleep that no signal ends (state D).
nothing_is_stuck() {
  local process
  for process in $(processes_with_token "$RRAM_TOKEN"); do
    if cat "/proc/$process"/task/*/stat 2>/dev/null | sed 's/.*) //' | grep -q '^D'; then
      return 1
    fi
  done
}

is_mounted() {
  grep -q " $1 " /proc/self/mountinfo
}

# Every process of this scenario whose program is $1. They carry the scenario's token in their
# environment, daemons too.
processes_of() {
  local process
  for process in $(processes_with_token "$RRAM_TOKEN"); do
    if [[ $(readlink "/proc/$process/exe") == "$(readlink -f "$1")" ]]; then
      echo "$process"
    fi
  done
}

total_bytes_of() {
  stat -f -c '%S %b' "$1" | awk '{print $1 * $2}'
}

free_bytes_of() {
  stat -f -c '%S %a' "$1" | awk '{print $1 * $2}'
}

all_is_free() {
  [[ $(free_bytes_of "$MNT") == "$(total_bytes_of "$MNT")" ]]
}

drop_caches() {
  sync -f "$MNT"
  [[ ! -w /proc/sys/vm/drop_caches ]] || echo 3 >/proc/sys/vm/drop_caches
}

# Some programs refuse to run as root, and only another user shows what is refused.
as_nobody() {
  setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}

# Below a directory that only root may enter, nobody reaches the mount.
let_others_in() {
  chmod o+x "$WORK" "$(dirname "$WORK")"
}

# random_file PATH MEBIBYTES: not compressible, the same for the same path and size.
random_file() {
  head -c "$2M" /dev/zero |
    openssl enc -aes-128-ctr -nosalt -K 00112233445566778899aabbccddeeff \
      -iv "$(echo -n "$1" | md5sum | cut -c 1-32)" >"$1"
}

# ---- whether memory that was somebody else's can be seen ----

PATTERN=secret-of-the-first-requester

# fill_with_pattern DIRECTORY MEBIBYTES
fill_with_pattern() {
  # yes(1) ends by a closed pipe, which is no failure here.
  (set +o pipefail && yes "$PATTERN" |
    dd of="$1/pattern" bs=1M count="$2" iflag=fullblock oflag=direct status=none)
}

# touch_blocks DIRECTORY MEBIBYTES: one byte in many places of DIRECTORY/sparse, so that blocks are
# taken without being written whole.
touch_blocks() {
  python3 - "$1/sparse" "$2" <<'PYTHON'
import os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
size = int(sys.argv[2]) << 20
os.ftruncate(fd, size)
for offset in range(0, size, 37 * 1024):
    os.pwrite(fd, b"x", offset)
os.fsync(fd)
PYTHON
}

# expect_nothing_but FILE BYTES: these, as tr(1) writes them, are all that is in it.
expect_nothing_but() {
  expect_equal "first bytes of $1 that nobody wrote" "$(tr -d "$2" <"$1" | head -c 60)" ""
}
