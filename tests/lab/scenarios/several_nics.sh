# shellcheck shell=bash disable=SC2034,SC2016,SC2153
# Two RDMA NICs on each side: the lanes of one lease take turns over them. When one fails, its lanes
# come back over the other, and the data with them, while it is still down.
limit_s=180

SECOND=10.78.0
MARGIN_S=4
DEADLINE_S=4

# On a host: its second NIC, with an RDMA device and an address of its own.
second_nic_up() {
  ip link set eth1 mtu 4200
  ip addr add "$1/24" dev eth1
  ip link set eth1 up
  rdma link add rxe1 type rxe netdev eth1
}

# On a host: how many packets its RDMA devices have sent.
packets_sent() {
  cat /sys/class/infiniband/rxe{0,1}/ports/1/hw_counters/sent_pkts
}

# On the requester.
write_file() {
  random_file "$WORK/data" 48
  dd if="$WORK/data" of="$MNT/file" bs=1M oflag=direct status=none
}

# On the requester.
read_file() {
  dd if="$MNT/file" of="$WORK/got" bs=1M iflag=direct status=none && cmp "$WORK/data" "$WORK/got"
}

# On the requester: a reader on each CPU, so that the lanes of all workers have work.
read_everywhere() {
  local cpu readers=()
  for cpu in 0 1; do
    taskset -c "$cpu" dd if="$MNT/file" of=/dev/null bs=256k iflag=direct status=none &
    readers+=($!)
  done
  wait "${readers[@]}"
}

file_is_back() {
  on requester read_file
}

# expect_share WHAT PART WHOLE: at least a fifth.
expect_share() {
  expect_at_least "packets over $1, of $3 in all, five times" $((5 * $2)) "$3"
}

start_provider() {
  local host=p1
  declare -gA PROVIDER
  on_bg p1 "exec \$RRAM_PROVIDER --size 128M --name p1 --listen verbs://0.0.0.0:$PORT" \
    "--allow $SUBNET --allow $SECOND.0/24 $*"
  PROVIDER[$host]=$COMMAND
  provider_wait "$host"
}

# expect_no_mount OPTIONS REGEX: over the second NIC.
expect_no_mount() {
  on requester "mkdir -p /tmp/other; \$RRAMFS /tmp/other -o providers=verbs://$SECOND.2:$PORT,$1" \
    >"$WORK/said" 2>&1 &&
    fail "it mounts with $1"
  expect_match "refusal" "$(cat "$WORK/said")" "$2"
}

scenario() {
  local first second reader status=0
  TRANSPORT=verbs
  # What becomes of the network ends with the hosts.
  trap 'power_off p1; power_off requester' EXIT
  on requester second_nic_up "$SECOND.1"
  on p1 second_nic_up "$SECOND.2"

  step "the contract of a lane, over two devices"
  on -t 60 p1 "RRAM_TEST_VERBS_ADDRESS=${ADDRESS[p1]} RRAM_TEST_VERBS_ADDRESS_2=$SECOND.2" \
    "\$BUILD/tests/contract/contract_test --gtest_filter=VerbsDevices.* --gtest_brief=1" >"$WORK/said" ||
    fail "$(tail -n 40 "$WORK/said")"
  expect_match "result" "$(cat "$WORK/said")" "PASSED.* 2 tests"

  step "a provider that is kept to one device"
  start_provider --device rxe0
  expect_no_mount timeout=10s "serves on the RDMA device rxe0 only, not on rxe1"
  provider_stop p1

  step "a mount over both"
  start_provider
  on requester "\$RRAMFS \$MNT -o providers=verbs://${ADDRESS[p1]}/$SECOND.2:$PORT" \
    "-o timeout=${DEADLINE_S}s,log_file=/tmp/rramfs.log"
  on requester write_file
  on p1 packets_sent >"$WORK/before"
  on requester read_everywhere
  on p1 packets_sent >"$WORK/after"
  first=$(($(sed -n 1p "$WORK/after") - $(sed -n 1p "$WORK/before")))
  second=$(($(sed -n 2p "$WORK/after") - $(sed -n 2p "$WORK/before")))
  figure "packets of the provider: $first over the first NIC, $second over the second"
  expect_share "the first NIC" "$first" $((first + second))
  expect_share "the second NIC" "$second" $((first + second))
  on requester read_file

  step "a requester that is kept to one device"
  expect_no_mount rdma_device=rxe0 "leads over the RDMA device rxe1, not over rxe0"

  step "one fails"
  on p1 "ip link set eth1 down"
  on_bg requester read_everywhere
  reader=$COMMAND
  command_wait "$reader" $((DEADLINE_S + MARGIN_S)) >/dev/null 2>&1 || status=$?
  [[ $status -ne 124 ]] || fail "neither data nor an error in time"
  wait_until 30 "the file is back over the other" file_is_back
  figure "with one NIC down: reading $([[ $status -eq 0 ]] && echo "went on" || echo "failed once"), then all is there"
  on requester read_everywhere
  on requester detach
  wait_until "$RETURN_S" "all memory is back at p1" provider_is_idle p1
  provider_stop p1
}
