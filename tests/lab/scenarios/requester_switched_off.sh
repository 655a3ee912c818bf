# shellcheck shell=bash disable=SC2034,SC2016,SC2153
# The requester's host dies: providers take their memory back, and nobody sees what it held.
limit_s=240
transports="tcp verbs"
needs="python3"

# Five intervals of two seconds without a heartbeat, then 30 s in which the network may heal.
SILENCE_AND_GRACE_S=40
MARGIN_S=15

# On the requester.
expect_zeros() {
  touch_blocks "$MNT" 60
  fallocate -l 30M "$MNT/allocated"
  truncate -s 15M "$MNT/hole"
  drop_caches
  expect_nothing_but "$MNT/sparse" '\0x'
  expect_nothing_but "$MNT/allocated" '\0'
  expect_nothing_but "$MNT/hole" '\0'
}

scenario() {
  local start host
  volume_start 64M
  on requester 'fill_with_pattern "$MNT" 110'
  step "the requester is switched off"
  power_off requester
  start=$(now_ms)
  for host in p1 p2; do
    expect_equal "bytes that $host still lends" "$(provider_counter "$host" leased_bytes)" \
      $((64 * 1024 * 1024))
  done
  for host in p1 p2; do
    wait_until $((SILENCE_AND_GRACE_S + MARGIN_S)) "$host took its memory back" provider_is_idle "$host"
    expect_equal "free bytes of $host" "$(provider_counter "$host" free_bytes)" $((64 * 1024 * 1024))
  done
  figure "memory is back after $(seconds_since_ms "$start")"
  step "it is back, and mounts again"
  power_on requester
  rramfs_mount "" p1 p2
  on -t 120 requester expect_zeros
}
