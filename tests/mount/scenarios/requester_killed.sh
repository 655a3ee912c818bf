# shellcheck shell=bash disable=SC2034
# rramfs dies: providers take the memory back, and the same command replaces the stale mount.
matrix=all
limit_s=120
key=yes

GRACE_S=30

scenario() {
  local daemon status=0
  volume_start 2 128M
  dd if=/dev/urandom of="$MNT/file" bs=1M count=32 status=none
  daemon=$(daemon_of "$MNT")
  [[ -n $daemon ]] || fail "no rramfs process serves $MNT"
  step "kill"
  kill -KILL "$daemon"
  wait_until 5 "rramfs is gone" process_gone "$daemon"
  timeout 5 ls "$MNT" >/dev/null 2>&1 || status=$?
  [[ $status -ne 0 && $status -ne 124 ]] || fail "ls on the dead mount: status $status"
  if [[ $TRANSPORT != local ]]; then
    wait_until "$GRACE_S" "p1 took its memory back" provider_is_idle p1
    wait_until "$GRACE_S" "p2 took its memory back" provider_is_idle p2
  fi
  step "mount again over the stale mount"
  rramfs_mount "$MNT" "providers=$(provider_list 2 128M),front_end=$FRONT_END"
  expect_match "words about the stale mount" "$(cat "$WORK"/rramfs.{out,err})" "stale|left behind"
  expect_equal "mounts at this place" "$(grep -c " $MNT " /proc/self/mountinfo)" 1
  echo works >"$MNT/file"
  expect_equal "content" "$(cat "$MNT/file")" works
}
