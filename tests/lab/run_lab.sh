#!/bin/bash
# Runs scenarios on three virtual hosts with soft-RoCE: a requester and the providers p1 and p2.
# They are booted once, from Debian's own kernel under qemu, share the root file system of this
# machine read-only, and hang on a bridge in a network namespace of their own.
# usage: run_lab.sh [--build DIR] [--filter REGEX] [--scenarios DIR] [--keep-logs] [--list]
#                   [--no-summary]
# A scenario is a file tests/lab/scenarios/NAME.sh with a function `scenario` (see lib.sh) and:
#   limit_s=N             its time limit in seconds
#   transports="tcp"      runs once for each, as lab.NAME.TRANSPORT, with $TRANSPORT set
#   needs="a b"           programs without which it is skipped
# Everything runs below one process in a process namespace: however this script ends, the virtual
# hosts, the network and their processes end with it.
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
ROOT=$(readlink -f "$here/../..")
# shellcheck source=tests/report.sh
source "$ROOT/tests/report.sh"
# shellcheck source=tests/runner.sh
source "$ROOT/tests/runner.sh"
# shellcheck source=tests/lab/kernel.sh
source "$here/kernel.sh"

SCENARIO_DIRECTORIES=("$here/scenarios")
KEEP_LOGS=no
LAB=
NAMESPACE=

parse_options() {
  while [[ $# -gt 0 ]]; do
    if take_option "$@"; then
      shift "$TAKEN"
      continue
    fi
    case $1 in
      --keep-logs) KEEP_LOGS=yes ;;
      *)
        echo "run_lab.sh: unknown option $1" >&2
        exit 2
        ;;
    esac
    shift
  done
}

# settings_of FILE: "limit_s ,needs,by,commas, transports..." as the file sets them.
settings_of() (
  limit_s=120 needs="" transports=-
  # shellcheck source=/dev/null
  source "$1"
  echo "$limit_s ,${needs// /,}, $transports"
)

# What is to be run: lines "NAME FILE TRANSPORT limit_s needs".
plan() {
  local file name transport limit_s needs transports
  for file in "${SCENARIO_DIRECTORIES[0]}"/*.sh; do
    read -r limit_s needs transports < <(settings_of "$file")
    for transport in $transports; do
      name=lab.$(basename "$file" .sh)
      [[ $transport == - ]] || name+=.$transport
      [[ $name =~ $FILTER ]] || continue
      echo "$name $file $transport $limit_s $needs"
    done
  done
}

# Becomes the command in namespaces. The process namespace ends with its first process, which ends
# with this script; the network namespace ends with its last process.
in_namespaces() {
  exec setpriv --pdeathsig KILL unshare --net --pid --fork --kill-child --mount-proc "$@"
}

# Why no lab can run here; empty when it can.
obstacle() {
  local missing
  [[ $(id -u) -eq 0 ]] || { echo "virtual hosts need root" && return; }
  missing=$(missing_program qemu-system-x86_64 cpio ip jq modprobe rdma setpriv tc unshare xz)
  [[ -z $missing ]] || { echo "$missing" && return; }
  [[ -x /bin/busybox ]] || { echo "no static busybox here" && return; }
  [[ -n $(guest_kernel) ]] || { echo "no kernel for virtual hosts in /boot" && return; }
  (in_namespaces true) 2>/dev/null || { echo "no permission to make a network namespace" && return; }
  [[ -w /dev/net/tun ]] || echo "no /dev/net/tun here"
}

skip_all() {
  local name rest
  while read -r name rest; do report_skip "$name" "$1"; done <"$LAB/plan"
}

keep_logs() {
  rm -rf "$BUILD/lab-logs"
  mkdir -p "$BUILD/lab-logs"
  cp -r "$LAB"/logs/. "$BUILD/lab-logs/"
  echo "logs: $BUILD/lab-logs"
}

at_exit() {
  local i
  [[ -z $NAMESPACE ]] || kill -KILL "$NAMESPACE" 2>/dev/null || true
  [[ -n $LAB ]] || return 0
  # What ends may still be writing.
  for i in {1..20}; do
    if rm -rf --one-file-system "$LAB" 2>/dev/null; then return; fi
    sleep 0.1
  done
}

run_lab() {
  local status=0
  mkdir "$LAB/logs"
  export BUILD ROOT LAB RRAM_RESULTS
  in_namespaces "$here/session.sh" </dev/null &
  NAMESPACE=$!
  wait "$NAMESPACE" || status=$?
  NAMESPACE=
  if [[ $KEEP_LOGS == yes ]]; then keep_logs; fi
  [[ $status -eq 0 ]] || report_fail "lab.session"
}

main() {
  local why
  parse_options "$@"
  open_results
  trap at_exit EXIT
  trap 'exit 130' INT TERM HUP
  LAB=$(mktemp -d "${TMPDIR:-/tmp}/rram-lab.XXXXXX")
  plan >"$LAB/plan"
  if [[ $ONLY_LIST == yes ]]; then
    cut -d ' ' -f 1 "$LAB/plan"
    return
  fi
  [[ -s $LAB/plan ]] || return 0
  why=$(obstacle)
  if [[ -n $why ]]; then skip_all "$why"; else run_lab; fi
  [[ $SUMMARY == no ]] || count_results "$RRAM_RESULTS"
}

# In one piece: the file may change while it runs.
{
  main "$@"
  exit
}
