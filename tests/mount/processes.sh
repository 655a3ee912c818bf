# shellcheck shell=bash
# Which processes and mounts belong to a scenario, and their end. Sourced by the runner and by
# scenarios. Nothing here ever touches a mounted directory: it may hang.

# Whether the environment of a daemon can be read: neither daemon is dumpable, so that takes
# CAP_SYS_PTRACE. Without it every look at a scenario's processes would find none.
sees_processes() {
  local capabilities sys_ptrace=19
  capabilities=$(sed -n 's/^CapEff:[[:blank:]]*//p' /proc/self/status)
  ((0x$capabilities >> sys_ptrace & 1))
}

# processes_with_token TOKEN: ids of processes that have it in their environment.
processes_with_token() {
  local environment process
  for environment in /proc/[0-9]*/environ; do
    process=${environment#/proc/}
    process=${process%/environ}
    [[ $process != "$$" && $process != "$BASHPID" ]] || continue
    if grep -qaz "^RRAM_TOKEN=$1\$" "$environment" 2>/dev/null; then
      echo "$process"
    fi
  done
}

# mounts_below DIRECTORY: mount points, the innermost first, each with its device minor.
mounts_below() {
  awk -v below="$1/" 'index($5, below) == 1 { split($3, device, ":"); print device[2], $5 }' \
    /proc/self/mountinfo | tac
}

# Frees whoever waits for an answer of a file system that gives none.
abort_connection() {
  local file=/sys/fs/fuse/connections/$1/abort
  [[ -d /sys/fs/fuse/connections/$1 ]] || mount -t fusectl none /sys/fs/fuse/connections 2>/dev/null
  [[ ! -w $file ]] || echo 1 >"$file"
}

detach_all_below() {
  local minor point
  while read -r minor point; do
    timeout 5 fusermount3 -u "$point" 2>/dev/null && continue
    abort_connection "$minor"
    fusermount3 -uz "$point" 2>/dev/null || umount -l "$point" 2>/dev/null || true
  done < <(mounts_below "$1")
}

# end_processes TOKEN: asks, then kills. True when nothing had to be killed.
end_processes() {
  local -a left
  local i
  mapfile -t left < <(processes_with_token "$1")
  [[ ${#left[@]} -gt 0 ]] || return 0
  kill -CONT "${left[@]}" 2>/dev/null || true
  kill -TERM "${left[@]}" 2>/dev/null || true
  for ((i = 0; i < 60 * SLOW; ++i)); do
    mapfile -t left < <(processes_with_token "$1")
    [[ ${#left[@]} -gt 0 ]] || return 0
    sleep 0.1
  done
  kill -KILL "${left[@]}" 2>/dev/null || true
  return 1
}
