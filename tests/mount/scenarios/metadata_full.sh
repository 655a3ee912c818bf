# shellcheck shell=bash disable=SC2034
# Names and attributes have their own limit: beyond it is ENOSPC, df -i says so before, and what is
# deleted can be used again.
matrix=once
limit_s=120

# Free inodes by statfs(2).
free_inodes() {
  stat -f -c %d "$MNT"
}

scenario() {
  local before made
  volume_start 1 64M metadata=1M
  before=$(free_inodes)
  expect_at_least "free inodes of 1 MiB" "$before" 1500

  step "as many files as fit"
  made=$(python3 - "$MNT" <<'PYTHON'
import errno, os, sys
made = 0
try:
    while True:
        os.mknod(f"{sys.argv[1]}/file-{made}")
        made += 1
except OSError as error:
    assert error.errno == errno.ENOSPC, error
print(made)
PYTHON
  )
  expect_at_least "files made" "$made" $((before * 3 / 4))
  expect_equal "free inodes" "$(free_inodes)" 0
  expect_failure ln "$MNT/file-1" "$MNT/another"
  expect_match "link" "$OUTPUT" "No space left on device"
  expect_failure setfattr -n user.a -v 1 "$MNT/file-1"

  step "what exists can be used and moved"
  echo data >"$MNT/file-1"
  mv "$MNT/file-1" "$MNT/file-one"

  step "what is deleted is free again"
  find "$MNT" -name 'file-*' -delete
  expect_at_least "free inodes" "$(free_inodes)" $((before * 9 / 10))
  touch "$MNT/new"
}
