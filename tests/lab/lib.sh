# shellcheck shell=bash
# shellcheck disable=SC2034,SC2016,SC2153 # others use what is set here, and set what is used; hosts
# expand what stands in single quotes
# What a scenario of the lab may use: providers and the mount on the virtual hosts, besides
# tests/mount/lib.sh (fail, skip, step, expect_*, wait_until), agent.sh (on, on_bg) and machines.sh
# (power_off, power_on, cable_out, cable_in). Sourced by scenario_shell.sh with
#   TRANSPORT   the way between the hosts, as an address names it: tcp
#   WORK        an empty directory on this side
# On a host the mount is at $MNT.

PORT=7470
RETURN_S=20 # the time until all memory is back at a provider, after the detach
declare -A PROVIDER=() # the command that a provider runs as, by host

step() {
  echo "--- $* ($SECONDS s)"
}

# figure TEXT: is shown when the scenario has passed.
figure() {
  echo "figure: $*"
}

# The address of a provider, for the transport under test.
endpoint() {
  echo "$TRANSPORT://${ADDRESS[$1]}:$PORT"
}

# endpoints HOST...: the value of providers= for them.
endpoints() {
  local host list=
  for host in "$@"; do list+="+$(endpoint "$host")"; done
  echo "${list#+}"
}

# provider_launch HOST SIZE [OPTIONS...]: does not wait for it.
provider_launch() {
  local host=$1 size=$2
  shift 2
  on_bg "$host" "exec \$RRAM_PROVIDER --size $size --name $host --listen $(endpoint "$host")" \
    "--allow $SUBNET $*"
  PROVIDER[$host]=$COMMAND
}

# provider_wait HOST: until it says that it is ready.
provider_wait() {
  local command=${PROVIDER[$1]}
  wait_until 60 "the provider on $1 is ready" provider_is_ready_or_gone "$1"
  command_runs "$command" || fail "the provider on $1 ended: $(command_output "$command")"
}

# provider_start HOST SIZE [OPTIONS...]
provider_start() {
  provider_launch "$@"
  provider_wait "$1"
}

provider_is_ready_or_gone() {
  [[ -s $LAB/share/commands/${PROVIDER[$1]}/out ]] || ! command_runs "${PROVIDER[$1]}"
}

# provider_counter HOST KEY
provider_counter() {
  on "$1" "\$RRAM_PROVIDER --status unix:///run/rram/provider.sock" >"$WORK/status.json" ||
    fail "the provider on $1 gives no status"
  jq -e ".$2" "$WORK/status.json" || fail "no '$2' in the status of $1"
}

# All memory came back to a provider and is ready to be lent again.
provider_is_idle() {
  on "$1" "\$RRAM_PROVIDER --status unix:///run/rram/provider.sock" |
    jq -e '.leased_bytes == 0 and .reclaiming_bytes == 0' >/dev/null
}

# provider_stop HOST: the orderly way; its exit status must be 0.
provider_stop() {
  local status=0 command=${PROVIDER[$1]}
  unset "PROVIDER[$1]"
  on "$1" "kill -TERM $(command_pid "$command")"
  command_wait "$command" "$ENDING_S" >/dev/null || status=$?
  expect_equal "exit status of the provider on $1 ($(command_output "$command"))" "$status" 0
}

# rramfs_mount OPTIONS HOST...: mounts on the requester what these lend; its line is in $MOUNT_LINE.
rramfs_mount() {
  local options=$1
  shift
  options="providers=$(endpoints "$@"),log_file=/tmp/rramfs.log${options:+,$options}"
  MOUNT_LINE=$(on requester "\$RRAMFS \$MNT -o $options")
  echo "$MOUNT_LINE"
}

# volume_start SIZE [OPTIONS]: a mount over both providers, each lending SIZE.
volume_start() {
  provider_launch p1 "$1"
  provider_launch p2 "$1"
  provider_wait p1
  provider_wait p2
  rramfs_mount "${2:-}" p1 p2
}

# volume_stop: the orderly end of it all. Called after every scenario that got so far.
volume_stop() {
  local host
  if is_on requester; then on requester 'if is_mounted "$MNT"; then detach; fi'; fi
  for host in "${!PROVIDER[@]}"; do
    if command_runs "${PROVIDER[$host]}"; then
      wait_until "$RETURN_S" "all memory is back at $host" provider_is_idle "$host"
      provider_stop "$host"
    fi
  done
}

# listens HOST PORT: by TCP.
listens() {
  on "$1" "ss -Hltn 'sport = :$2' | grep -q ."
}

# perftest COLUMN TOOL OPTIONS...: a tool of perftest between p1, which serves, and the requester;
# what it says in that column is left in $FIGURE.
perftest() {
  local column=$1 server
  shift
  on_bg p1 "$* -d rxe0 -F"
  server=$COMMAND
  wait_until 20 "$1 listens on p1" listens p1 18515
  on requester "$* -d rxe0 -F ${ADDRESS[p1]}" >"$WORK/figures"
  command_wait "$server" 20 >/dev/null
  FIGURE=$(awk -v column="$column" '/#bytes/ { getline; print $column }' "$WORK/figures")
}
