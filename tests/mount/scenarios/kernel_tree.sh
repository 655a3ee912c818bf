# shellcheck shell=bash disable=SC2034
# A tree with the shape of a kernel's sources is unpacked, compared as it comes from the providers, and
# removed. KERNEL_TREE_FILES=80000 is as large as a kernel: 1.2 GB.
matrix=cover
limit_s=900
needs="python3"

FILES=${KERNEL_TREE_FILES:-6000}

archive() {
  python3 "$ROOT/tests/mount/kernel_tree.py" "$FILES"
}

scenario() {
  [[ $RUN_MODE == full ]] || FILES=$((FILES / 4))
  # 15 KiB a file, in blocks of its own.
  volume_start 2 "$((128 + FILES / 80))M"
  step "unpack"
  archive | tar -x -C "$MNT"
  expect_equal "files" "$(find "$MNT/tree" -type f | wc -l)" "$FILES"
  echo "$(find "$MNT/tree" | wc -l) entries, $(du -sm --apparent-size "$MNT/tree" | cut -f 1) MiB"
  drop_caches
  step "compare"
  archive | tar --compare -C "$MNT"
  step "remove"
  rm -rf "$MNT/tree"
  wait_until "$ENDING_S" "all space is free again" all_is_free
}
