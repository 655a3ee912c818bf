# shellcheck shell=bash
# shellcheck disable=SC2034 # run.sh uses what is set here
# What a run does to the host, and how it is undone: settings, processes, time limits. Sourced.

declare -A SAVED_SETTING
RUNNING=() # what `bounded` has started and not yet seen end

# fail SENTENCE
fail() {
  echo "bench/run.sh: $*" >&2
  exit 1
}

# note SENTENCE: what happened on the way, on stderr; the tables alone go to stdout.
note() {
  echo "$*" >&2
}

# set_for_the_run FILE VALUE: fails if the host does not take it.
set_for_the_run() {
  local file=$1 value=$2 before
  before=$(cat "$file") || return 1
  [[ $before != "$value" ]] || return 0
  echo "$value" 2>/dev/null >"$file" || return 1
  SAVED_SETTING[$file]=$before
}

restore_settings() {
  local file
  for file in "${!SAVED_SETTING[@]}"; do
    echo "${SAVED_SETTING[$file]}" >"$file" || note "$file could not be set back"
  done
  SAVED_SETTING=()
}

# Ended, or only waiting for its parent to ask.
process_gone() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  stat=${stat##*) }
  [[ ${stat:0:1} == Z ]]
}

# wait_until SECONDS COMMAND...: asks twenty times a second; not to be used while measuring.
wait_until() {
  local i
  for ((i = 0; i < $1 * 20; ++i)); do
    "${@:2}" && return 0
    sleep 0.05
  done
  return 1
}

# end_process PID: TERM, and KILL after some seconds.
end_process() {
  kill -TERM "$1" 2>/dev/null || return 0
  wait_until 8 process_gone "$1" && return 0
  kill -KILL "$1" 2>/dev/null || true
  wait_until 5 process_gone "$1" || note "process $1 does not end"
}

# bounded SECONDS OUTPUT ON_LATE COMMAND...: runs it with stdout and stderr in the file OUTPUT. Past
# its time ON_LATE is called (a program that waits for a FUSE daemon cannot be killed before that),
# then the command is killed. Nothing else runs meanwhile but one sleep.
bounded() {
  local limit=$1 output=$2 on_late=$3 status=0 ended=
  shift 3
  "$@" >"$output" 2>&1 </dev/null &
  local command=$!
  sleep "$limit" &
  local clock=$!
  RUNNING=("$command" "$clock")
  wait -n -p ended "$command" "$clock" || status=$?
  if [[ $ended == "$clock" ]]; then
    echo "stopped after $limit s" >>"$output"
    "$on_late"
    end_process "$command"
    if process_gone "$command"; then wait "$command" 2>/dev/null || true; fi
    RUNNING=()
    return 124
  fi
  kill "$clock" 2>/dev/null || true
  wait "$clock" 2>/dev/null || true
  RUNNING=()
  return "$status"
}

# cpu_us PID...: processor time that the threads of these processes have used so far.
cpu_us() {
  local pid
  for pid in "$@"; do cat "/proc/$pid/task/"*/schedstat 2>/dev/null || true; done |
    awk '{ ns += $1 } END { printf "%d", ns / 1000 }'
}

port_is_free() {
  ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Leaves a free port in $LAST_PORT.
next_port() {
  LAST_PORT=$((LAST_PORT + 1))
  until port_is_free "$LAST_PORT"; do LAST_PORT=$((LAST_PORT + 1)); done
}

LAST_PORT=$((21000 + RANDOM % 9000))
