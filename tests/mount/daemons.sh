# shellcheck shell=bash
# shellcheck disable=SC2034 # others use what is set here
# Starting and ending providers and mounts in a scenario. Sourced after lib.sh.

# PROVIDER_KEY: the key file of a provider that has one, for its status.
# PROVIDER_DESCRIPTORS: how many it has open before anybody has connected.
declare -A PROVIDER_PID PROVIDER_PORT PROVIDER_KEY PROVIDER_DESCRIPTORS
MOUNTS=0
LAST_PORT=$((20000 + RANDOM % 12000)) # below those that the kernel gives to connections

port_is_free() {
  ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Leaves a free port in $LAST_PORT.
next_port() {
  LAST_PORT=$((LAST_PORT + 1))
  until port_is_free "$LAST_PORT"; do LAST_PORT=$((LAST_PORT + 1)); done
}

# provider_start NAME SIZE [OPTIONS...]: returns when it says that it is ready. A provider that is
# started again under its name keeps its port and socket.
provider_start() {
  local name=$1 size=$2
  shift 2
  if [[ -z ${PROVIDER_PORT[$name]:-} ]]; then
    next_port
    PROVIDER_PORT[$name]=$LAST_PORT
  fi
  : >"$WORK/$name.out"
  "$RRAM_PROVIDER" --size "$size" --name "$name" --listen "tcp://127.0.0.1:${PROVIDER_PORT[$name]}" \
    --unix "$WORK/$name.sock" "$@" >"$WORK/$name.out" 2>"$WORK/$name.err" &
  PROVIDER_PID[$name]=$!
  wait_until $((20 * SLOW)) "provider $name is ready" provider_is_ready_or_gone "$name"
  if process_gone "${PROVIDER_PID[$name]}"; then
    fail "provider $name ended at its start: $(cat "$WORK/$name.out" "$WORK/$name.err")"
  fi
  PROVIDER_DESCRIPTORS[$name]=$(descriptors_of "${PROVIDER_PID[$name]}")
}

descriptors_of() {
  find "/proc/$1/fd" -mindepth 1 2>/dev/null | wc -l
}

provider_is_ready_or_gone() {
  [[ -s $WORK/$1.out ]] || process_gone "${PROVIDER_PID[$1]}"
}

# The address of a provider, for the transport under test.
endpoint() {
  if [[ $TRANSPORT == tcp ]]; then
    echo "tcp://127.0.0.1:${PROVIDER_PORT[$1]}"
  else
    echo "unix://$WORK/$1.sock"
  fi
}

# provider_counter NAME KEY
provider_counter() {
  local -a key=()
  [[ -z ${PROVIDER_KEY[$1]:-} ]] || key=(--key-file "${PROVIDER_KEY[$1]}")
  "$RRAM_PROVIDER" --status "unix://$WORK/$1.sock" "${key[@]}" >"$WORK/status.json" ||
    fail "provider $1 gives no status"
  jq -e ".$2" "$WORK/status.json" || fail "no '$2' in the status of $1: $(cat "$WORK/status.json")"
}

provider_counter_is() {
  [[ $(provider_counter "$1" "$2") == "$3" ]]
}

# All memory came back to a provider and is ready to be lent again.
provider_is_idle() {
  provider_counter_is "$1" leased_bytes 0 && provider_counter_is "$1" reclaiming_bytes 0
}

# Nothing is left of its requesters: no memory, no lease, no connection, no descriptor.
provider_kept_nothing() {
  provider_is_idle "$1" && provider_counter_is "$1" leases 0 &&
    provider_counter_is "$1" connections 0 &&
    (($(descriptors_of "${PROVIDER_PID[$1]}") <= PROVIDER_DESCRIPTORS[$1]))
}

# provider_stop NAME: the orderly way; its exit status must be 0.
provider_stop() {
  local pid=${PROVIDER_PID[$1]} status=0
  kill -TERM "$pid"
  wait_until "$ENDING_S" "provider $1 ends after SIGTERM" process_gone "$pid"
  wait "$pid" || status=$?
  unset "PROVIDER_PID[$1]"
  expect_equal "exit status of provider $1 ($(cat "$WORK/$1.err"))" "$status" 0
}

# provider_kill NAME: kill -9.
provider_kill() {
  kill -KILL "${PROVIDER_PID[$1]}"
  wait "${PROVIDER_PID[$1]}" 2>/dev/null || true
  unset "PROVIDER_PID[$1]"
}

# rramfs_mount POINT OPTIONS: mounts in the background; its line is left in $MOUNT_LINE.
rramfs_mount() {
  local point=$1 options=$2 status=0
  is_mounted "$point" || mkdir -p "$point"
  MOUNTS=$((MOUNTS + 1))
  timeout $((30 * SLOW)) "$RRAMFS" "$point" -o "$options,log_file=$WORK/daemon$MOUNTS.err" \
    >"$WORK/rramfs.out" 2>"$WORK/rramfs.err" </dev/null || status=$?
  [[ $status -eq 0 ]] || fail "rramfs -o $options: status $status: $(cat "$WORK"/rramfs.{out,err})"
  MOUNT_LINE=$(cat "$WORK/rramfs.out")
  is_mounted "$point" || fail "rramfs ended well, but nothing is mounted at $point"
}

# detach [POINT]: everything is written back and given back; the daemon is gone afterwards.
detach() {
  local point=${1:-$MNT} pid
  pid=$(daemon_of "$point")
  fusermount3 -u "$point" || fail "fusermount3 -u $point"
  [[ -z $pid ]] || wait_until "$ENDING_S" "rramfs ends after the unmount" process_gone "$pid"
}

# The process id of the rramfs that serves a mount point.
daemon_of() {
  local process
  for process in $(processes_of "$RRAMFS"); do
    if tr '\0' '\n' <"/proc/$process/cmdline" | grep -qxF "$1"; then
      echo "$process"
      return
    fi
  done
}

# providers_start COUNT SIZE: p1, p2, ...; nothing for the local transport.
providers_start() {
  local i
  [[ $TRANSPORT != local ]] || return 0
  for ((i = 1; i <= $1; ++i)); do provider_start "p$i" "$2"; done
}

# provider_list COUNT SIZE: the value of providers= for that many.
provider_list() {
  local i list=
  for ((i = 1; i <= $1; ++i)); do
    if [[ $TRANSPORT == local ]]; then
      list+="+local:$2"
    else
      list+="+$(endpoint "p$i")"
    fi
  done
  echo "${list#+}"
}

# volume_start COUNT SIZE [OPTIONS]: a mount at $MNT over so many providers of SIZE each.
volume_start() {
  providers_start "$1" "$2"
  rramfs_mount "$MNT" "providers=$(provider_list "$1" "$2"),front_end=$FRONT_END${3:+,$3}"
}

# volume_stop: the orderly end of it all. Called after every scenario that got so far.
volume_stop() {
  local name
  wait_until "$ENDING_S" "no process waits without end" nothing_is_stuck
  if is_mounted "$MNT"; then detach "$MNT"; fi
  for name in "${!PROVIDER_PID[@]}"; do
    if [[ -S $WORK/$name.sock ]]; then
      wait_until "$RETURN_S" "provider $name has back all that it lent" provider_kept_nothing "$name"
    fi
    provider_stop "$name"
  done
}
