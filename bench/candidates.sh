# shellcheck shell=bash
# shellcheck disable=SC2034 # run.sh uses what is set here
# The file systems that are compared. Sourced after host.sh.
# A candidate has a key: its name, and with '@' the front end if it is one of ours: local@io_uring.

declare -A MOUNT_OF     # key -> mount point
declare -A REQUESTER_OF # key -> process that serves the mount
declare -A PROVIDERS_OF # key -> processes that lend, separated by blanks
declare -A CONNECTION_OF # key -> number of its FUSE connection

OUR_CANDIDATES=(null local shm tcp tcp2)
SPIKE_PORT=5600 # fixed in its source
SPIKE_BYTES=$((512 << 20))

# The keys of a candidate: one for each front end, if it has any.
keys_of() {
  local front
  case $1 in
    tmpfs | spike) echo "$1" ;;
    *) for front in "${FRONT_ENDS[@]}"; do echo "$1@$front"; done ;;
  esac
}

# candidate_start KEY: mounted and usable when it returns.
candidate_start() {
  local key=$1
  local home=$WORK/$key
  mkdir -p "$home/mnt"
  case ${key%@*} in
    tmpfs) start_tmpfs "$key" ;;
    spike) start_spike "$key" ;;
    null) start_rramfs "$key" "null:${POOL_MIB}M" ;;
    local) start_rramfs "$key" "local:${POOL_MIB}M" ;;
    shm)
      start_provider "$key" 1 "$POOL_MIB"
      start_rramfs "$key" "unix://$home/provider1.sock"
      ;;
    tcp)
      start_provider "$key" 1 "$POOL_MIB"
      start_rramfs "$key" "tcp://127.0.0.1:$LAST_PORT"
      ;;
    tcp2) start_tcp2 "$key" ;;
  esac
  MOUNT_OF[$key]=$home/mnt
}

start_tcp2() {
  local key=$1 first_port
  start_provider "$key" 1 $((POOL_MIB / 2))
  first_port=$LAST_PORT
  start_provider "$key" 2 $((POOL_MIB / 2))
  start_rramfs "$key" "tcp://127.0.0.1:$first_port+tcp://127.0.0.1:$LAST_PORT"
}

start_tmpfs() {
  MOUNT_OF[$1]=$WORK/$1/mnt
  mount -t tmpfs -o "size=$((POOL_MIB + 64))M" rram-bench "$WORK/$1/mnt"
}

said_or_gone() {
  [[ -s $1 ]] || process_gone "$2"
}

# ready_or_fail WHAT PID OUTPUT ERRORS: a daemon says one line when it is ready.
ready_or_fail() {
  wait_until 60 said_or_gone "$3" "$2" || fail "$1 is not ready after a minute"
  if process_gone "$2"; then fail "$1 ended: $(cat "$3" "$4")"; fi
}

# start_provider KEY NUMBER MIB: its port is in $LAST_PORT, its socket provider<NUMBER>.sock.
start_provider() {
  local key=$1 base=$WORK/$1/provider$2 pid
  next_port
  "$WORK/bin/rram-provider" --size "$3M" --name "provider$2" --unix "$base.sock" \
    --listen "tcp://127.0.0.1:$LAST_PORT" >"$base.out" 2>"$base.err" </dev/null &
  pid=$!
  PROVIDERS_OF[$key]="${PROVIDERS_OF[$key]:-} $pid"
  ready_or_fail "a provider of $key" "$pid" "$base.out" "$base.err"
}

# start_rramfs KEY PROVIDERS: in the foreground of a job, so that its process id is known.
start_rramfs() {
  local key=$1
  local home=$WORK/$key
  MOUNT_OF[$key]=$home/mnt
  "$WORK/bin/rramfs" "$home/mnt" -f -o "providers=$2,front_end=${key#*@}$RRAMFS_OPTIONS" \
    >"$home/rramfs.out" 2>"$home/rramfs.err" </dev/null &
  REQUESTER_OF[$key]=$!
  ready_or_fail "rramfs of $key" "${REQUESTER_OF[$key]}" "$home/rramfs.out" "$home/rramfs.err"
  CONNECTION_OF[$key]=$(connection_number "$home/mnt")
}

# The minor device number of a mount is the number of its FUSE connection.
connection_number() {
  awk -v point="$1" '$5 == point { split($3, number, ":"); print number[2] }' /proc/self/mountinfo
}

is_mounted() {
  grep -qF " $1 " /proc/self/mountinfo
}

mounted_or_gone() {
  is_mounted "$1" || process_gone "$2"
}

build_spike() {
  local -a flags
  read -r -a flags <<<"$(pkg-config --cflags --libs fuse3 liburing)"
  note "building the spike"
  "${CXX:-g++}" -O2 -std=c++20 -w -o "$WORK/bin/spike" "$SPIKE" "${flags[@]}" -lpthread ||
    fail "the spike does not build"
}

start_spike() {
  local key=$1
  local home=$WORK/$key
  port_is_free "$SPIKE_PORT" || fail "port $SPIKE_PORT, which the spike needs, is taken"
  "$WORK/bin/spike" provider >"$home/provider.out" 2>&1 </dev/null &
  PROVIDERS_OF[$key]=$!
  wait_until 60 spike_provider_listens || fail "the spike's provider is not ready"
  MOUNT_OF[$key]=$home/mnt
  TCP=1 "$WORK/bin/spike" "$home/mnt" >"$home/spike.out" 2>&1 </dev/null &
  REQUESTER_OF[$key]=$!
  wait_until 20 mounted_or_gone "$home/mnt" "${REQUESTER_OF[$key]}" || fail "the spike mounts not"
  CONNECTION_OF[$key]=$(connection_number "$home/mnt")
  timeout 10 stat "$home/mnt/f" >/dev/null || fail "the spike: $(cat "$home/spike.out")"
}

spike_provider_listens() {
  ! port_is_free "$SPIKE_PORT"
}

# abort_connection KEY: every request that waits for its daemon fails now.
abort_connection() {
  local all=/sys/fs/fuse/connections mounted_here=0
  [[ -n ${CONNECTION_OF[$1]:-} ]] || return 0
  if ! is_mounted "$all" && mount -t fusectl fusectl "$all"; then mounted_here=1; fi
  (echo 1 >"$all/${CONNECTION_OF[$1]}/abort") 2>/dev/null || true
  if ((mounted_here)); then umount "$all" || true; fi
}

# candidate_stop KEY: whatever state it is in; always ends.
candidate_stop() {
  local key=$1 pid
  local point=${MOUNT_OF[$key]:-}
  if [[ -n $point ]] && is_mounted "$point" && ! timeout -k 2 10 umount "$point" 2>/dev/null; then
    note "$key: cannot be unmounted in order; detached by force"
    abort_connection "$key"
    timeout -k 2 10 umount -l "$point" 2>/dev/null || true
  fi
  for pid in ${REQUESTER_OF[$key]:-} ${PROVIDERS_OF[$key]:-}; do end_process "$pid"; done
  unset "MOUNT_OF[$key]" "REQUESTER_OF[$key]" "PROVIDERS_OF[$key]" "CONNECTION_OF[$key]"
}
