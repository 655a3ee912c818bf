# shellcheck shell=bash
# shellcheck disable=SC2009 # ps shows what pgrep does not
# What a command on a virtual host may use, besides tests/report.sh and tests/mount/lib.sh, of which
# copies lie beside this file there. Sourced by boot.sh, once for all commands.

# shellcheck source=tests/lab/guest/environment.sh
source /run/share/guest/environment.sh
# shellcheck source=tests/report.sh
source /run/share/guest/report.sh
# shellcheck source=tests/mount/lib.sh
source /run/share/guest/mount_lib.sh
# shellcheck source=tests/mount/processes.sh
source /run/share/guest/processes.sh

# group_of PROCESS: its process group is left in $GROUP_OF, 0 when there is no such process.
group_of() {
  local line
  GROUP_OF=0
  { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 0
  read -r _ _ GROUP_OF _ <<<"${line##*) }"
}

# Processes that commands started, but this one, in $LEFT. What belongs to the host itself is in
# group 0. No process is started for it: that would take long here.
find_processes_of_commands() {
  local own directory
  group_of "$BASHPID"
  own=$GROUP_OF
  LEFT=()
  for directory in /proc/[0-9]*; do
    group_of "${directory#/proc/}"
    [[ $GROUP_OF -eq 0 || $GROUP_OF -eq $own ]] || LEFT+=("${directory#/proc/}")
  done
}

# end_commands SIGNAL: whether they are gone soon after it.
end_commands() {
  local i
  find_processes_of_commands
  kill -CONT "${LEFT[@]}" 2>/dev/null || true
  kill "-$1" "${LEFT[@]}" 2>/dev/null || true
  for ((i = 0; i < 50; ++i)); do
    find_processes_of_commands
    [[ ${#LEFT[@]} -gt 0 ]] || return 0
    sleep 0.1
  done
  return 1
}

# What a scenario left behind ends here. Fails when something cannot be ended. What daemons have
# logged is said, for the log of the scenario.
clean_up() {
  cat /tmp/*.log 2>/dev/null || true
  if grep -q ' /mnt/' /proc/mounts; then detach_all_below /mnt; fi
  if ! end_commands TERM && ! end_commands KILL; then
    echo w >/proc/sysrq-trigger
    fail "processes do not end: $(ps -o pid,stat,wchan:20,args -p "${LEFT[*]}")"
  fi
  rm -rf /tmp/* /run/rram/*
}

# Nothing waits for something that does not come.
expect_no_blocked_process() {
  local i blocked
  for ((i = 0; i < 20; ++i)); do
    # Removing an RDMA device waits, in the kernel, for all who have it open.
    blocked=$(ps -e -o stat=,pid=,wchan:24=,args= | grep '^D' | grep -v 'rdma link delete' || true)
    [[ -n $blocked ]] || return 0
    sleep 0.1
  done
  fail "in D state: $blocked"
}

# The orderly end of the mount.
detach() {
  fusermount3 -u "$MNT"
  wait_until 20 "rramfs ends after the unmount" no_rramfs
}

no_rramfs() {
  ! pidof -q "$RRAMFS"
}
