# shellcheck shell=bash disable=SC2034
# Two volumes on the same providers, by different ways, busy at the same time.
matrix=none
limit_s=180

scenario() {
  [[ -w /dev/fuse ]] || skip "no /dev/fuse here"
  TRANSPORT=tcp
  provider_start p1 256M
  provider_start p2 256M
  rramfs_mount "$MNT" "providers=$(provider_list 2 256M),size=240M"
  TRANSPORT=shm
  rramfs_mount "$WORK/second" "providers=$(provider_list 2 256M),size=240M"
  "$EXERCISER" --dir "$MNT/exerciser" --operations 8000 --processes 2 --max-file-size 1M \
    --max-total-size 100M >"$WORK/first.log" 2>&1 &
  "$EXERCISER" --dir "$WORK/second/exerciser" --operations 8000 --processes 2 --max-file-size 1M \
    --max-total-size 100M || fail "the second mount"
  wait $! || fail "the first mount: $(cat "$WORK/first.log")"
  expect_equal "leases of p1" "$(provider_counter p1 leases)" 2
  detach "$WORK/second"
  wait_until "$ENDING_S" "one lease is left" provider_counter_is p1 leases 1
  echo "still works" >"$MNT/file"
}
