# shellcheck shell=bash disable=SC2034
# fs_mark: many small files by several threads at once, with each of its ways to sync; all of them are
# there in their full size when they come from the providers. FS_MARK_FILES=50000 makes more a thread.
matrix=once
limit_s=600
mode=full
needs="fs_mark"

THREADS=4
SIZE=5000

scenario() {
  local way files=${FS_MARK_FILES:-250}
  volume_start 2 256M
  # It takes no path of more than 40 bytes.
  ln -s "$MNT" here
  for way in 0 1 2 3 4 5 6; do
    fs_mark -d "here/$way" -n "$files" -s $SIZE -t $THREADS -D 8 -S "$way" -k -l "$WORK/fs_mark.log" \
      >"$WORK/fs_mark.out" 2>&1 || fail "fs_mark -S $way: $(tail -n 3 "$WORK/fs_mark.out")"
    drop_caches
    expect_equal "files of $SIZE bytes, sync method $way" \
      "$(find "$MNT/$way" -type f -size "${SIZE}c" | wc -l)" $((files * THREADS))
    rm -rf "${MNT:?}/$way"
  done
  wait_until "$ENDING_S" "all space is free again" all_is_free
}
