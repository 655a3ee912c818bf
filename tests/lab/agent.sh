# shellcheck shell=bash
# Commands on virtual hosts. Sourced after machines.sh.
#
# A command is a directory of the share with its text; the host adds pid, out, err and status. A
# line on the host's serial port says that there is a new one. Nothing of this uses the network
# between the hosts, and commands of one host run at the same time.
#
#   on p1 'free -m'                    runs, prints, returns its exit status
#   on -t 300 requester 'fio ...'      with another time limit than 60 s; 124 when it was too long
#   on_bg requester 'dd ...'           runs in the background, its name is left in $COMMAND;
#   command_wait NAME [LIMIT_S]        waits for it, prints, returns its exit status
#   command_runs NAME; command_pid NAME; command_output NAME
#
# Text runs under `set -euo pipefail` with guest/lib.sh and with what the scenario's file defines, so
# that its functions can be called on the hosts, too. 255: the host is off, or it went off.

ON_LIMIT_S=60
COMMAND=""

# tell HOST WORD NAME
tell() {
  # Opened to read as well: a pipe without a reader would block.
  echo "$2 $3" 1<>"$LAB/machines/$1/agent.in"
}

# on_bg HOST TEXT...
on_bg() {
  local host=$1 directory
  shift
  is_on "$host" || return "$STATUS_OFF"
  directory=$(mktemp -d "$LAB/share/commands/$host.XXXXXXXX")
  echo "$*" >"$directory/text"
  COMMAND=${directory##*/}
  tell "$host" run "$COMMAND"
}

# command_ended NAME: its status is left in $STATUS.
command_ended() {
  if { read -r STATUS <"$LAB/share/commands/$1/status"; } 2>/dev/null; then return; fi
  STATUS=$STATUS_OFF
  ! is_on "${1%%.*}"
}

command_runs() {
  ! command_ended "$1"
}

command_pid() {
  cat "$LAB/share/commands/$1/pid"
}

command_output() {
  cat "$LAB/share/commands/$1"/{out,err} 2>/dev/null || true
}

# command_wait NAME [LIMIT_S]
command_wait() {
  local directory=$LAB/share/commands/$1 deadline
  deadline=$(($(now_ms) + ${2:-$ON_LIMIT_S} * 1000))
  until command_ended "$1"; do
    if (($(now_ms) >= deadline)); then
      tell "${1%%.*}" end "$1"
      STATUS=124
      break
    fi
    sleep 0.02
  done
  [[ ! -e $directory/out ]] || cat "$directory/out"
  [[ ! -e $directory/err ]] || cat "$directory/err" >&2
  return "$STATUS"
}

# on [-t LIMIT_S] HOST TEXT...
on() {
  local limit_s=$ON_LIMIT_S
  if [[ $1 == -t ]]; then
    limit_s=$2
    shift 2
  fi
  on_bg "$@" || return
  command_wait "$COMMAND" "$limit_s"
}
