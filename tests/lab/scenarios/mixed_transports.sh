# shellcheck shell=bash disable=SC2034,SC2016,SC2153
# One volume over RDMA and TCP at the same time; and without a scheme the requester takes RDMA where
# it is, TCP where it is not, and says so.
limit_s=120

provider_by() {
  on_bg "$2" "exec \$RRAM_PROVIDER --size 128M --name $2 --listen $1://${ADDRESS[$2]}:$PORT" \
    "--allow $SUBNET"
  PROVIDER[$2]=$COMMAND
}

# On the requester.
write_and_compare() {
  random_file "$WORK/data" 24
  cp "$WORK/data" "$MNT/data"
  sync -f "$MNT"
  drop_caches
  cmp "$WORK/data" "$MNT/data"
}

scenario() {
  local used
  provider_by verbs p1
  provider_by tcp p2
  provider_wait p1
  provider_wait p2
  step "verbs://p1+tcp://p2"
  TRANSPORT=verbs
  MOUNT_LINE=$(on requester "\$RRAMFS \$MNT -o log_file=/tmp/rramfs.log,providers=$(endpoint p1)+tcp://${ADDRESS[p2]}:$PORT")
  expect_match "line" "$MOUNT_LINE" "2 providers, 256.0 MiB, (verbs.*tcp|tcp.*verbs)"
  on requester write_and_compare
  used=$(provider_counter p2 written_bytes)
  expect_at_least "bytes written to p2 over TCP" "$used" $((8 << 20))
  expect_equal "bytes that p1 itself handled" "$(provider_counter p1 written_bytes)" 0
  on requester detach
  wait_until "$RETURN_S" "all memory is back at p1" provider_is_idle p1
  wait_until "$RETURN_S" "all memory is back at p2" provider_is_idle p2

  step "without a scheme"
  on requester "\$RRAMFS \$MNT -o log_file=/tmp/rramfs.log,providers=${ADDRESS[p1]}+${ADDRESS[p2]} 2>&1" >"$WORK/said"
  cat "$WORK/said"
  expect_match "p1" "$(cat "$WORK/said")" "${ADDRESS[p1]}:$PORT \(p1\) by verbs"
  expect_match "p2" "$(cat "$WORK/said")" "${ADDRESS[p2]}:$PORT \(p2\) by tcp"
  expect_match "why" "$(cat "$WORK/said")" "not verbs: .*no provider listens there for RDMA"
  on requester write_and_compare
}
