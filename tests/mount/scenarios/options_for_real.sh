# shellcheck shell=bash disable=SC2034
# Options that change what a mount is: ro, fsname, stripe, size, workers, direct_io, @FILE, several
# providers= options; -V and -h.
matrix=none
limit_s=90

mounted_options() {
  findmnt -n -o "$1" "$MNT"
}

scenario() {
  TRANSPORT=tcp
  [[ -w /dev/fuse ]] || skip "no /dev/fuse here"
  "$RRAMFS" -V | grep -q rramfs
  "$RRAMFS" -h | grep -q providers=
  "$RRAM_PROVIDER" --help | grep -q -- --size
  provider_start p1 64M
  provider_start p2 64M

  step "read only"
  rramfs_mount "$MNT" "ro,providers=$(provider_list 2 64M)"
  expect_failure touch "$MNT/file"
  expect_match "refusal" "$OUTPUT" "Read-only file system"
  detach

  step "fsname, size"
  rramfs_mount "$MNT" "fsname=scratch,size=64M,providers=$(provider_list 2 64M)"
  expect_equal "source" "$(mounted_options SOURCE)" scratch
  expect_equal "size" "$(total_bytes_of "$MNT")" $((64 * 1024 * 1024))
  detach

  step "providers from a file, workers, stripe unit, direct I/O"
  { endpoint p1 && endpoint p2; } >"$WORK/list"
  rramfs_mount "$MNT" "providers=@$WORK/list,workers=1,stripe=64K,direct_io"
  expect_match "success line" "$MOUNT_LINE" " 2 providers"
  random_file "$WORK/data" 20
  cp "$WORK/data" "$MNT/data"
  cmp "$WORK/data" "$MNT/data"
  detach

  step "providers= twice"
  rramfs_mount "$MNT" "providers=$(endpoint p1),providers=$(endpoint p2)"
  expect_match "success line" "$MOUNT_LINE" " 2 providers"
}
