# shellcheck shell=bash disable=SC2034,SC2016,SC2153
# Everything over IPv6: where the provider listens, whom it admits, what the mount is told.
limit_s=120
transports="tcp verbs"

# From here on lib.sh speaks of these addresses, written as in a URL.
speak_ipv6() {
  local host
  for host in "${HOSTS[@]}"; do ADDRESS["$host"]="[${ADDRESS6[$host]}]"; done
  SUBNET=$SUBNET6
}

# On a host. RoCE knows an address by a GID, which for IPv6 is the address itself.
has_gid() {
  grep -qx "$1" /sys/class/infiniband/rxe0/ports/1/gids/* 2>/dev/null
}

# On the requester.
write_and_compare() {
  random_file "$WORK/data" 24
  cp "$WORK/data" "$MNT/data"
  drop_caches
  cmp "$WORK/data" "$MNT/data"
}

scenario() {
  local host
  for host in "${HOSTS[@]}"; do
    on "$host" has_gid "fd77:0000:0000:0000:0000:0000:0000:000${ADDRESS6[$host]##*:}"
  done
  speak_ipv6
  volume_start 64M
  expect_match "line" "$MOUNT_LINE" "2 providers, 128.0 MiB, $TRANSPORT"
  on requester write_and_compare
  expect_at_least "leased bytes of p2" "$(provider_counter p2 leased_bytes)" 1
  on requester detach

  step "an address that is not admitted"
  wait_until "$RETURN_S" "all memory is back at p1" provider_is_idle p1
  provider_stop p1
  SUBNET=fd88::/16 provider_start p1 64M
  local status=0
  on requester "\$RRAMFS \$MNT -o providers=$(endpoint p1) 2>&1" >"$WORK/said" || status=$?
  expect_at_least "exit status of rramfs" "$status" 1
  expect_match "message" "$(cat "$WORK/said")" "provider says: .*${ADDRESS6[requester]}"
}
