# shellcheck shell=bash disable=SC2034
# This project is built on the mount, and its unit tests run there.
matrix=once
limit_s=1200
mode=full
needs="meson ninja git"

copy_sources() {
  mkdir "$MNT/source"
  tar -C "$ROOT" --exclude='./build*' --exclude=./.git --exclude=./.cache -c . |
    tar -x -C "$MNT/source"
}

unit_tests() {
  find "$MNT/build/tests/unit" -type f -perm -u+x
}

scenario() {
  local test count=0
  volume_start 2 1G
  copy_sources
  # What ccache knows from the build outside is welcome: the files are written here all the same.
  export CCACHE_BASEDIR=$MNT CCACHE_NOHASHDIR=1
  if command -v ccache >/dev/null; then export CXX="ccache g++"; fi
  meson setup "$MNT/build" "$MNT/source" -Dbuildtype=release >"$WORK/meson.log" 2>&1 ||
    fail "meson: $(tail -n 5 "$WORK/meson.log")"
  ninja -C "$MNT/build" >"$WORK/ninja.log" 2>&1 || fail "ninja: $(tail -n 20 "$WORK/ninja.log")"
  for test in $(unit_tests); do
    "$test" >"$WORK/test.log" 2>&1 || fail "$test: $(tail -n 20 "$WORK/test.log")"
    count=$((count + 1))
  done
  expect_at_least "unit test programs" "$count" 3
}
