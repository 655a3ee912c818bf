# shellcheck shell=bash disable=SC2034
# Access times as relatime has them, where a read reaches the daemon; none with noatime.
matrix=once
limit_s=60

atime() {
  stat -c %x "$1"
}

# changes_atime FILE COMMAND...: by this command
changes_atime() {
  local file=$1 before
  shift
  before=$(atime "$file")
  # A tick of the kernel's clock for time stamps, at the slowest 10 ms.
  sleep 0.02
  "$@" >"$WORK/read"
  [[ $(atime "$file") != "$before" ]]
}

read_unseen() {
  python3 - "$1" <<'PYTHON'
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_NOATIME)
if os.path.isdir(sys.argv[1]):
    os.listdir(fd)
else:
    os.pread(fd, 100, 0)
PYTHON
}

copy_range() {
  python3 -c 'import os, sys
os.copy_file_range(os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT), 100)' "$@"
}

# The same on any file system.
check_relatime() {
  local dir=$1
  echo data >"$dir/file"
  changes_atime "$dir/file" cat "$dir/file" || fail "the first read does not show in $dir"
  ! changes_atime "$dir/file" cat "$dir/file" || fail "a second read shows in $dir"
  echo more >>"$dir/file"
  changes_atime "$dir/file" cat "$dir/file" || fail "a read after a write does not show in $dir"
  touch -a -d "2 days ago" "$dir/file"
  touch -m -d "3 days ago" "$dir/file"
  changes_atime "$dir/file" cat "$dir/file" || fail "a read after two days does not show in $dir"
  mkdir "$dir/directory"
  touch "$dir/directory/name"
  changes_atime "$dir/directory" ls "$dir/directory" || fail "listing does not show in $dir"
  ! changes_atime "$dir/directory" ls "$dir/directory" || fail "a second listing shows in $dir"
  echo more >>"$dir/file"
  touch "$dir/directory/another"
  ! changes_atime "$dir/file" read_unseen "$dir/file" || fail "O_NOATIME does not help in $dir"
  ! changes_atime "$dir/directory" read_unseen "$dir/directory" ||
    fail "O_NOATIME of a directory does not help in $dir"
  changes_atime "$dir/file" copy_range "$dir/file" "$dir/copy" ||
    fail "copy_file_range does not show in $dir"
  ln -s target "$dir/link"
  changes_atime "$dir/link" readlink "$dir/link" || fail "following a link does not show in $dir"
}

scenario() {
  step "the rules themselves, on tmpfs"
  if [[ $(id -u) -eq 0 ]]; then
    mkdir "$WORK/tmpfs"
    mount -t tmpfs -o size=16M,relatime tmpfs "$WORK/tmpfs"
    check_relatime "$WORK/tmpfs"
    umount "$WORK/tmpfs"
  fi
  volume_start 1 64M direct_io
  check_relatime "$MNT"
  detach
  step "noatime"
  rramfs_mount "$MNT" "providers=$(provider_list 1 64M),direct_io,noatime"
  echo data >"$MNT/file"
  ! changes_atime "$MNT/file" cat "$MNT/file" || fail "a read shows in spite of noatime"
}
