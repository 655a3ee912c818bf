# shellcheck shell=bash disable=SC2034
# A mount is what df and the success line say; every way to detach gives the memory back.
matrix=all
limit_s=60
key=yes

volume_bytes() {
  echo $((2 * 256 * 1024 * 1024))
}

leases_are_back() {
  [[ $TRANSPORT != local ]] || return 0
  wait_until "$ENDING_S" "p1 is idle" provider_is_idle p1
  wait_until "$ENDING_S" "p2 is idle" provider_is_idle p2
}

mount_again() {
  rramfs_mount "$MNT" "providers=$(provider_list 2 256M),front_end=$FRONT_END"
}

in_foreground() {
  # A background job of a script ignores SIGINT; a program at a terminal does not.
  env --default-signal=INT "$RRAMFS" -f "$MNT" \
    -o "providers=$(provider_list 2 256M),front_end=$FRONT_END" >"$WORK/foreground.out" 2>&1 &
  FOREGROUND=$!
  wait_until $((20 * SLOW)) "mounted in the foreground" is_mounted "$MNT"
}

scenario() {
  step "what df says"
  volume_start 2 256M
  expect_match "success line" "$MOUNT_LINE" "^rramfs: $MNT, [12] providers?, [0-9.]+ [MG]iB, "
  expect_equal "type" "$(df --output=fstype "$MNT" | tail -n 1)" fuse.rramfs
  expect_equal "size" "$(total_bytes_of "$MNT")" "$(volume_bytes)"
  expect_equal "free of a new volume" "$(free_bytes_of "$MNT")" "$(volume_bytes)"

  step "fusermount3 -u"
  echo hello >"$MNT/file"
  detach
  leases_are_back

  step "umount; the volume is new again"
  mount_again
  expect_equal "files in a new volume" "$(find "$MNT" -mindepth 1 | wc -l)" 0
  umount "$MNT"
  leases_are_back

  step "Ctrl-C in the foreground"
  in_foreground
  echo hello >"$MNT/file"
  kill -INT "$FOREGROUND"
  wait_until "$ENDING_S" "rramfs ends after SIGINT" process_gone "$FOREGROUND"
  ! is_mounted "$MNT" || fail "still mounted after Ctrl-C"
  leases_are_back
}
