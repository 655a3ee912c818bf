# shellcheck shell=bash disable=SC2034
# bonnie++: one large file by characters and blocks, and small files and hard links made, read and
# removed in order and at random. BONNIE_MEBIBYTES=2048 makes the file larger.
matrix=once
limit_s=600
mode=full
needs="bonnie++"

scenario() {
  local mebibytes=${BONNIE_MEBIBYTES:-16} files
  volume_start 2 "$((mebibytes + 256))M"
  # 1024 of each kind: files of up to 20000 bytes, hard links (-1). Its symbolic links point nowhere,
  # and it fails on every file system when it reads their attributes.
  for files in 1:20000:10:4 1:-1:0:4; do
    bonnie++ -d "$MNT" -u root -q -x 1 -s "${mebibytes}M" -r "$((mebibytes / 2))M" -n "$files" \
      >"$WORK/bonnie.out" 2>"$WORK/bonnie.err" || fail "bonnie++: $(tail -n 3 "$WORK/bonnie.err")"
    mebibytes=0
  done
  expect_equal "what is left" "$(find "$MNT" -mindepth 1)" ""
  wait_until "$ENDING_S" "all space is free again" all_is_free
}
