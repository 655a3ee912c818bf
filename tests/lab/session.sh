#!/bin/bash
# The lab from its first to its last second, as the first process of a process namespace and in a
# network namespace of its own: boots, runs what $LAB/plan says, reports. Started by run_lab.sh.
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
export WORK=$LAB/scenario SLOW=1 MNT=/nowhere
# shellcheck source=tests/report.sh
source "$here/../report.sh"
# shellcheck source=tests/mount/lib.sh
source "$here/../mount/lib.sh"
# shellcheck source=tests/lab/kernel.sh
source "$here/kernel.sh"
# shellcheck source=tests/lab/network.sh
source "$here/network.sh"
# shellcheck source=tests/lab/machines.sh
source "$here/machines.sh"
# shellcheck source=tests/lab/agent.sh
source "$here/agent.sh"

CLEAN_LIMIT_S=45

# Copies: a build or a script that changes meanwhile changes nothing here.
fill_share() {
  local program
  mkdir -p "$LAB/share/commands" "$LAB/machines"
  cp -r "$here/guest" "$LAB/share/guest"
  cp "$here/../report.sh" "$LAB/share/guest/report.sh"
  cp "$here/../mount/lib.sh" "$LAB/share/guest/mount_lib.sh"
  cp "$here/../mount/processes.sh" "$LAB/share/guest/processes.sh"
  # A build without RDMA lacks some.
  for program in "$RRAM_PROVIDER" "$RRAMFS" "$EXERCISER" "$BUILD"/tests/contract/contract_test \
    "$BUILD"/tests/lab/rdma-abuse "$BUILD"/bench/rram-perf; do
    if [[ -x $program ]]; then install -D "$program" "$LAB/share/build/${program#"$BUILD"/}"; fi
  done
}

prepare() {
  local kernel
  kernel=$(guest_kernel)
  plain_kernel "$kernel" "$LAB/kernel"
  make_initrd "$kernel" "$LAB/initrd"
  fill_share
  network_up
}

# Every host on, every cable in.
hosts_ready() (
  for host in "${HOSTS[@]}"; do
    if is_on "$host"; then cable_in "$host"; else machine_start "$host"; fi
  done
  for host in "${HOSTS[@]}"; do machine_wait "$host"; done
)

# Which hosts ended though nobody switched them off.
crashed_hosts() {
  local host
  for host in "${HOSTS[@]}"; do
    if [[ -e $LAB/machines/$host/id ]] && ! is_on "$host"; then echo "$host"; fi
  done
}

show_consoles() {
  local host
  for host in "$@"; do
    echo "[console of $host]"
    tail -n 60 "$LAB/logs/console.$host" "$LAB/logs/qemu.$host" | tr -d '\r'
  done
}

# What is left on the hosts ends. A host on which something does not end is switched off.
clean_hosts() (
  declare -A cleaning=()
  for host in "${HOSTS[@]}"; do
    if is_on "$host" && [[ -e $LAB/share/ready.$host ]]; then
      cable_in "$host"
      on_bg "$host" clean_up
      cleaning[$host]=$COMMAND
    fi
  done
  status=0
  for host in "${!cleaning[@]}"; do
    command_wait "${cleaning[$host]}" "$CLEAN_LIMIT_S" && continue
    echo "FAILED: $host had to be switched off, for something on it did not end"
    show_consoles "$host"
    if is_on "$host"; then power_off "$host"; fi
    status=1
  done
  return "$status"
)

# What the commands of a scenario said, beside its own log.
keep_command_logs() {
  local directory
  for directory in "$LAB"/share/commands/*/; do
    [[ -d $directory ]] || continue
    tail -n 200 "$directory"/{text,out,err,status} 2>/dev/null || true
  done >"$LAB/logs/$1.commands"
  rm -rf "$LAB/share/commands"
  mkdir "$LAB/share/commands"
}

# judge NAME STATUS START_MS
judge() {
  local name=$1 log=$LAB/logs/$1.log
  local status=$2
  # That a command on a host ended with 77 skips nothing.
  if [[ $status -eq 77 && ! -e $WORK/skip-reason ]]; then status=1; fi
  case $status in
    0)
      report_pass "$name" "$3"
      sed -n 's/^figure: /    /p' "$log"
      return
      ;;
    77)
      report_skip "$name" "$(cat "$WORK/skip-reason")"
      return
      ;;
    124 | 137) echo "FAILED: over the time limit" >>"$log" ;;
  esac
  RRAM_LOG_LINES=100 report_fail "$name" "$log"
  mkdir -p "$BUILD/lab-logs"
  cp "$LAB/logs/$name".* "$LAB"/logs/console.* "$BUILD/lab-logs/"
  echo "    whole logs: $BUILD/lab-logs"
}

# run_one NAME FILE TRANSPORT LIMIT_S
run_one() {
  local name=$1 log=$LAB/logs/$1.log start status=0 crashed host
  mkdir "$WORK"
  cp "$2" "$LAB/share/scenario.sh"
  start=$(now_ms)
  if hosts_ready >"$log" 2>&1; then
    TRANSPORT=$3 timeout -k 5 "$4" "$here/scenario_shell.sh" "$2" >>"$log" 2>&1 || status=$?
  else
    status=1
  fi
  crashed=$(crashed_hosts)
  if [[ -n $crashed ]]; then
    status=1
    # shellcheck disable=SC2086 # a list of words
    show_consoles $crashed >>"$log"
    for host in $crashed; do rm "$LAB/machines/$host/id"; done
  fi
  clean_hosts >>"$log" 2>&1 || [[ $status -ne 0 ]] || status=1
  keep_command_logs "$name"
  judge "$name" "$status" "$start"
  rm -rf "$WORK"
}

main() {
  local start name file transport limit_s needs why
  start=$(now_ms)
  prepare
  if hosts_ready >"$LAB/logs/boot.log" 2>&1; then
    report_pass lab.boot "$start"
  else
    show_consoles "${HOSTS[@]}" >>"$LAB/logs/boot.log"
    RRAM_LOG_LINES=100 report_fail lab.boot "$LAB/logs/boot.log"
    return
  fi
  while read -r name file transport limit_s needs <&3; do
    # shellcheck disable=SC2086 # a list of words
    why=$(missing_program ${needs//,/ })
    if [[ -n $why ]]; then
      report_skip "$name" "$why"
    else
      run_one "$name" "$file" "$transport" "$limit_s"
    fi
  done 3<"$LAB/plan"
}

main
