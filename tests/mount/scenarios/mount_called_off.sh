# shellcheck shell=bash disable=SC2034
# Whoever does not want to wait for a provider any longer need not: a signal, to the command or to
# the daemon, or the command's end, ends the mount at once, and what was leased comes back.
matrix=none
limit_s=120

AT_ONCE_S=$((5 * SLOW))

leases_are() {
  provider_counter_is quick leases "$1"
}

# Starts a mount that waits for the provider that sleeps; $COMMAND and $DAEMON are its processes.
# SIGINT_IS=ignore: with SIGINT ignored.
begin_mount() {
  # A background job of a script ignores SIGINT; a program at a terminal does not.
  env "--${SIGINT_IS:-default}-signal=INT" "$RRAMFS" "$MNT" \
    -o "providers=$(endpoint quick)+$(endpoint asleep),timeout=5m,log_file=$WORK/log.err" \
    >"$WORK/mount.out" 2>&1 </dev/null &
  COMMAND=$!
  wait_until $((20 * SLOW)) "the other provider has lent its part" leases_are 1
  DAEMON=$(processes_of "$RRAMFS" | grep -vx "$COMMAND")
}

expect_end() {
  wait_until "$AT_ONCE_S" "$1: the daemon ends" process_gone "$DAEMON"
  wait_until "$AT_ONCE_S" "$1: the command ends" process_gone "$COMMAND"
  ! is_mounted "$MNT" || fail "$1: something is mounted"
  expect_equal "$1: leases left" "$(provider_counter quick leases)" 0
}

# call_off WHAT SIGNAL PROCESS
call_off() {
  local status=0
  kill "-$2" "${!3}"
  expect_end "$1"
  wait "$COMMAND" || status=$?
  expect_equal "$1: status" "$status" 32
  expect_match "$1: words" "$(cat "$WORK/mount.out")" "interrupted.*nothing is mounted"
}

# called_off WHAT SIGNAL PROCESS
called_off() {
  step "$1"
  begin_mount
  call_off "$@"
}

scenario() {
  TRANSPORT=tcp
  [[ -w /dev/fuse ]] || skip "no /dev/fuse here"
  provider_start quick 64M
  provider_start asleep 64M
  kill -STOP "${PROVIDER_PID[asleep]}"

  called_off "SIGTERM to the daemon" TERM DAEMON
  called_off "SIGINT to the command" INT COMMAND

  step "a signal that is ignored from the start"
  SIGINT_IS=ignore begin_mount
  kill -INT "$COMMAND" "$DAEMON"
  sleep 0.5 # ten times what it takes to be heeded
  ! process_gone "$DAEMON" || fail "SIGINT ended what was to ignore it"
  call_off "SIGTERM after it" TERM DAEMON

  step "the command is killed"
  begin_mount
  kill -KILL "$COMMAND"
  expect_end "the command is killed"
  kill -CONT "${PROVIDER_PID[asleep]}"
}
