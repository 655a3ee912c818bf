# shellcheck shell=bash disable=SC2034
# Nobody ever reads what another requester wrote: memory is zeroed, holes are zeros.
matrix=cover
transports="shm tcp"
limit_s=180
key=yes

expect_clean() {
  drop_caches
  expect_nothing_but "$1" '\0x'
}

mount_at() {
  rramfs_mount "$1" "providers=$(provider_list 1 128M),front_end=$FRONT_END,$2"
}

# A requester that comes when p1 has its memory back finds nothing of the one before.
next_finds_nothing() {
  wait_until "$1" "p1 is idle" provider_is_idle p1
  mount_at "$MNT" noatime
  touch_blocks "$MNT" 120
  expect_clean "$MNT/sparse"
}

scenario() {
  local daemon
  step "after one that was killed"
  volume_start 1 128M
  fill_with_pattern "$MNT" 120
  daemon=$(daemon_of "$MNT")
  kill -KILL "$daemon"
  wait_until "$ENDING_S" "rramfs is gone" process_gone "$daemon"
  fusermount3 -uz "$MNT"
  next_finds_nothing $((60 * SLOW))

  step "after one that detached"
  rm "$MNT/sparse"
  fill_with_pattern "$MNT" 120
  detach
  next_finds_nothing "$ENDING_S"

  step "what was deleted does not come back in holes"
  rm "$MNT/sparse"
  fill_with_pattern "$MNT" 100
  rm "$MNT/pattern"
  touch_blocks "$MNT" 100
  expect_clean "$MNT/sparse"
  detach
  wait_until "$ENDING_S" "p1 is idle" provider_is_idle p1

  step "two at once"
  mount_at "$MNT" size=64M
  mount_at "$WORK/second" size=64M
  fill_with_pattern "$MNT" 60
  touch_blocks "$WORK/second" 60
  expect_clean "$WORK/second/sparse"
  expect_equal "the first one's lines" "$(head -n 1 "$MNT/pattern")" "$PATTERN"
  expect_equal "leases" "$(provider_counter p1 leases)" 2
  detach "$WORK/second"
}
