# shellcheck shell=bash disable=SC2034
# All of stress-ng's stressors of file systems at once, which check what they read: none fails, none is
# left out, and nothing of theirs stays. docs/conformance.md says which do not apply, and why.
# STRESS_SECONDS=60 gives them longer.
matrix=cover
limit_s=$((120 + 4 * ${STRESS_SECONDS:-3}))
needs="stress-ng"

STRESSORS="access aio aiol chattr chdir chmod chown chroot copy-file dentry dir dirdeep dirmany dnotify
  dup fallocate fanotify fcntl fifo file-ioctl filename flock fpunch fsize fstat getdent handle hdd
  inode-flags inotify io iomix landlock lease link locka lockf lockofd loop madvise mincore mknod mmap
  msync msyncmany open readahead rename revio rlimit seek sendfile splice symlink sync-file sysbadaddr
  touch utime vm-splice xattr"

# Who finds that something is not offered here skips itself, and is not in the results.
stressors_run() {
  sed -n 's/^ *- stressor: //p' "$1" | sort
}

scenario() {
  local stressor
  local -a options=(--temp-path "$MNT/stress" --verify --timeout "${STRESS_SECONDS:-3}s"
    --metrics --yaml "$WORK/stress.yaml" --mmap-file --mmap-bytes 16m --fallocate-bytes 64m
    --hdd-bytes 32m --iomix-bytes 32m --readahead-bytes 16m --sync-file-bytes 8m)
  [[ $(id -u) -eq 0 ]] || skip "needs root, to make devices and file handles"
  volume_start 2 512M dev,suid
  mkdir "$MNT/stress"
  for stressor in $STRESSORS; do options+=("--$stressor" 1); done
  stress-ng "${options[@]}" >"$WORK/stress.out" 2>&1 ||
    fail "stress-ng: $(grep -v dispatching "$WORK/stress.out" | head -n 20)"
  # shellcheck disable=SC2086 # a list of words
  diff <(printf '%s\n' $STRESSORS | sort) <(stressors_run "$WORK/stress.yaml") ||
    fail "< was left out: $(cat "$WORK/stress.out")"
  expect_equal "what is left" "$(find "$MNT/stress" -mindepth 1)" ""
  rmdir "$MNT/stress"
  wait_until "$ENDING_S" "all space is free again" all_is_free
}
