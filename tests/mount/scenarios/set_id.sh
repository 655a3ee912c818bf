# shellcheck shell=bash disable=SC2034
# Set-id bits go and stay as on tmpfs: whoever is not root clears them by writing, and what has been
# written no longer runs as somebody else.
matrix=all
limit_s=60
key=no

# The modes that the same steps leave behind on any file system, a line each.
modes_after_changes() {
  local dir=$1 mode
  for mode in 4777 2777 6777 2767 6767; do
    new_file() {
      rm -f "$dir/file"
      head -c 20000 /dev/zero >"$dir/file"
      chmod "$mode" "$dir/file"
    }
    shows() { echo "$mode, $1: $(stat -c %a "$dir/file")"; }
    new_file
    echo more >>"$dir/file"
    shows "root appends"
    as_nobody bash -c "echo more >>'$dir/file'"
    shows "nobody appends"
    new_file
    dd if=/dev/zero of="$dir/file" bs=4096 count=1 conv=notrunc oflag=direct status=none
    shows "root writes direct"
    as_nobody dd if=/dev/zero of="$dir/file" bs=4096 count=1 conv=notrunc oflag=direct status=none
    shows "nobody writes direct"
    new_file
    truncate -s 100 "$dir/file"
    shows "root truncates"
    as_nobody truncate -s 50 "$dir/file"
    shows "nobody truncates"
    new_file
    as_nobody bash -c ": >'$dir/file'"
    shows "nobody opens with O_TRUNC"
    new_file
    as_nobody fallocate -p -o 4096 -l 4096 "$dir/file"
    shows "nobody punches a hole"
    new_file
    chown 65534:65534 "$dir/file"
    shows "root gives it away"
    new_file
    as_nobody touch "$dir/file"
    shows "nobody sets the time"
  done
}

scenario() {
  [[ $(id -u) -eq 0 ]] || skip "needs root, to act as another user"
  volume_start 1 64M suid
  local other=$WORK/tmpfs
  mkdir "$other"
  mount -t tmpfs -o size=16M tmpfs "$other"
  chmod 0755 "$MNT" "$other"
  let_others_in

  step "the same modes as on tmpfs"
  modes_after_changes "$other" >"$WORK/expected"
  modes_after_changes "$MNT" >"$WORK/got"
  diff "$WORK/expected" "$WORK/got" || fail "< tmpfs, > rramfs"
  umount "$other"

  step "what was written runs as the caller, at once"
  cp "$(command -v id)" "$MNT/id"
  chmod 4777 "$MNT/id"
  expect_equal "before" "$(as_nobody "$MNT/id" -u)" 0
  as_nobody bash -c "echo >>'$MNT/id'"
  expect_equal "after" "$(as_nobody "$MNT/id" -u)" 65534

  step "a write takes the file's capabilities away"
  setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 "$MNT/id"
  getfattr -n security.capability "$MNT/id" >/dev/null
  as_nobody bash -c "echo >>'$MNT/id'"
  expect_failure getfattr -n security.capability "$MNT/id"
}
