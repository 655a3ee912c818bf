# shellcheck shell=bash disable=SC2034
# A real tree, copied in and compared; then compared again when it comes from the providers.
matrix=cover
limit_s=180
key=yes

scenario() {
  volume_start 2 512M
  step "copy"
  cp -a /usr/include "$MNT/include"
  diff -r --no-dereference /usr/include "$MNT/include"
  step "compare without the page cache"
  drop_caches
  diff -r --no-dereference /usr/include "$MNT/include"
  expect_equal "entries" "$(find "$MNT/include" | wc -l)" "$(find /usr/include | wc -l)"
  step "remove"
  rm -rf "$MNT/include"
  wait_until "$ENDING_S" "all space is free again" all_is_free
}
