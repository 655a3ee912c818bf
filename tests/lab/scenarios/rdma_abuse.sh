# shellcheck shell=bash disable=SC2034,SC2016,SC2153
# Raw RDMA connections that are garbage, of another version, not admitted, noisy, silent, fickle, or go
# straight for the memory: each is refused with a sentence or ended, and who behaves goes on.
limit_s=180

abuse() {
  on -t 100 requester "\$BUILD/tests/lab/rdma-abuse ${ADDRESS[$1]} $PORT ${*:2}"
}

# On the requester.
still_works() {
  random_file "$WORK/data" 8
  cp "$WORK/data" "$MNT/data"
  sync -f "$MNT"
  drop_caches
  cmp "$WORK/data" "$MNT/data"
}

scenario() {
  TRANSPORT=verbs
  provider_start p1 128M
  rramfs_mount "" p1
  expect_match "garbage" "$(abuse p1 garbage)" "rejected: .*(not of this protocol|carries)"
  expect_match "another version" "$(abuse p1 version)" "rejected: .*versions 9 to 9"
  abuse p1 noise
  abuse p1 read
  step "200 connections that never speak"
  abuse p1 silent 200
  on requester still_works
  step "200 requests that are taken back"
  abuse p1 fickle 200
  on requester still_works
  expect_at_least "connections left" $((10 - $(provider_counter p1 connections))) 0

  step "an address that is not admitted"
  on_bg p2 "exec \$RRAM_PROVIDER --size 64M --listen $(endpoint p2) --allow 10.99.0.0/16"
  PROVIDER["p2"]=$COMMAND
  provider_wait p2
  expect_match "refusal" "$(abuse p2 refused)" "rejected: .*${ADDRESS[requester]}"
  local status=0
  on requester "mkdir -p /tmp/other; \$RRAMFS /tmp/other -o providers=$(endpoint p2) 2>&1" >"$WORK/said" || status=$?
  expect_at_least "exit status of rramfs" "$status" 1
  expect_match "message" "$(cat "$WORK/said")" "the provider says: .*${ADDRESS[requester]}"
}
