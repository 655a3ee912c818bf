# shellcheck shell=bash disable=SC2034,SC2016,SC2153
# A provider, then its requester, loses its RDMA device: EIO within the deadline on that part, the
# rest goes on, and the provider says so. When a device has the address again the data is back.
# Soft-RoCE gives a device up only when no process has it open any more, so that one of another name
# takes its place; that the first one then goes shows that the daemons let go of it.
limit_s=240

DEADLINE_S=4
MARGIN_S=4
REMOVAL=() # the commands that remove the devices

# On the requester.
write_file() {
  random_file "$WORK/data" 24
  dd if="$WORK/data" of="$MNT/file" bs=1M oflag=direct status=none
}

# On the requester: until the first error.
read_on() {
  while dd if="$MNT/file" of=/dev/null bs=1M iflag=direct status=none; do :; done
}

# On the requester.
read_file() {
  dd if="$MNT/file" of="$WORK/got" bs=1M iflag=direct status=none && cmp "$WORK/data" "$WORK/got"
}

file_is_back() {
  on requester read_file >>"$WORK/attempts" 2>&1
}

# On a host: its address moves to its second NIC, with an RDMA device of its own.
replace_device() {
  ip addr del "$1/24" dev eth0
  ip link set eth1 mtu 4200
  echo 1 >/proc/sys/net/ipv4/conf/eth1/arp_notify # others are told once it is up
  ip addr add "$1/24" dev eth1
  ip link set eth1 up
  rdma link add rxe1 type rxe netdev eth1
}

# provider_said REGEX
provider_said() {
  command_output "${PROVIDER[p1]}" | grep -Eq "$1"
}

# lose_device HOST: under load, which ends in an error.
lose_device() {
  local start reader status=0
  on_bg requester read_on
  reader=$COMMAND
  sleep 2
  command_runs "$reader" || fail "the reader ended: $(command_output "$reader")"
  start=$(now_ms)
  on_bg "$1" "rdma link delete rxe0"
  REMOVAL+=("$COMMAND")
  command_wait "$reader" $((DEADLINE_S + MARGIN_S)) >"$WORK/said" 2>&1 || status=$?
  [[ $status -ne 124 ]] || fail "no error in time"
  expect_match "error" "$(cat "$WORK/said")" "Input/output error"
  figure "EIO after $(seconds_since_ms "$start")"
  on requester expect_no_blocked_process
  on requester 'df "$MNT" && mkdir "$MNT/without-device-of-'"$1"'"'
}

# await_file WHAT
await_file() {
  local start
  start=$(now_ms)
  wait_until 20 "the file is back" file_is_back
  figure "read again $(seconds_since_ms "$start") after $1"
}

devices_are_gone() {
  local removal
  for removal in "${REMOVAL[@]}"; do
    if command_runs "$removal"; then return 1; fi
  done
}

scenario() {
  TRANSPORT=verbs
  # What becomes of their network ends with them.
  trap 'power_off p1 && power_off requester' EXIT
  # A requester whose device goes looks like one that ended: two seconds are too short for it.
  provider_launch p1 128M --grace 30s
  provider_launch p2 128M --grace 30s
  provider_wait p1
  provider_wait p2
  rramfs_mount "timeout=${DEADLINE_S}s,size=128M" p1 p2
  on requester write_file

  step "the provider's device is removed"
  lose_device p1
  wait_until 5 "the provider says so" provider_said "${ADDRESS[p1]}:$PORT: the RDMA device was removed"
  expect_equal "leases" "$(provider_counter p1 leases)" 1

  step "another takes its place"
  on p1 replace_device "${ADDRESS[p1]}"
  wait_until 10 "the provider listens again" provider_said "connections can be made again"
  on requester "\$BUILD/bench/rram-perf $(endpoint p1) --span 16M --seconds 1 --sizes 64K --depths 1"
  await_file "the provider listened again"

  step "the requester's device is removed"
  lose_device requester
  on requester replace_device "${ADDRESS[requester]}"
  await_file "another took its place"

  on requester detach
  wait_until "$RETURN_S" "all memory is back at p1" provider_is_idle p1
  wait_until 10 "the first devices are gone" devices_are_gone
  provider_stop p1
}
