# shellcheck shell=bash disable=SC2034
# This project's programs and some unit tests are built on the mount, and run there.
matrix=once
limit_s=1200
mode=full
needs="meson ninja git"

copy_sources() {
  mkdir "$MNT/source"
  tar -C "$ROOT" --exclude='./build*' --exclude=./.git --exclude=./.cache -c . |
    tar -x -C "$MNT/source"
}

TESTS=(base/base_test layout/file_blocks_test wire/wire_test)

scenario() {
  local test
  volume_start 2 1G
  copy_sources
  # What is tried is the file system, not the compiler: the shortest build that there is.
  meson setup "$MNT/build" "$MNT/source" -Doptimization=0 -Ddebug=false -Dbenchmarks=disabled \
    >"$WORK/meson.log" 2>&1 || fail "meson: $(tail -n 5 "$WORK/meson.log")"
  ninja -C "$MNT/build" provider/rram-provider fusefs/rramfs "${TESTS[@]/#/tests/unit/}" \
    >"$WORK/ninja.log" 2>&1 || fail "ninja: $(tail -n 20 "$WORK/ninja.log")"
  for test in "${TESTS[@]}"; do
    "$MNT/build/tests/unit/$test" >"$WORK/test.log" 2>&1 ||
      fail "$test: $(tail -n 20 "$WORK/test.log")"
  done
  expect_equal "version" "$("$MNT/build/fusefs/rramfs" --version)" "$("$BUILD/fusefs/rramfs" --version)"
}
