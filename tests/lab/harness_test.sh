#!/bin/bash
# The lab itself: it tells good from bad, ends what hangs, boots what was switched off, and leaves
# nothing behind, however it ends.
# usage: harness_test.sh --build DIR      77: no lab can run here
set -euo pipefail

[[ ${1:-} == --build && -n ${2:-} ]] || { echo "usage: harness_test.sh --build DIR" && exit 2; }
build=$(readlink -f "$2")
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=tests/harness.sh
source "$here/../harness.sh"

lab() {
  mkdir -p "$work/build" "$work/tmp"
  ln -sfn "$build"/{provider,fusefs,tests} "$work/build/"
  TMPDIR=$work/tmp RRAM_RESULTS=$work/results exec "$here/run_lab.sh" --build "$work/build" \
    --scenarios "$work/scenarios"
}

processes_left() {
  # The brackets keep the pattern from finding itself.
  grep -la "$work/tmp/[r]ram-lab" /proc/[0-9]*/cmdline 2>/dev/null || true
}

expect_no_process() {
  local i
  for ((i = 0; i < 50; ++i)); do
    [[ -n $(processes_left) ]] || return 0
    sleep 0.1
  done
  echo "left $1: $(processes_left)" && exit 1
}

# What is seen when the lab itself is ended while it boots.
expect_clean_end_by() {
  local lab
  lab >"$work/output" 2>&1 &
  lab=$!
  until [[ -n $(compgen -G "$work/tmp/rram-lab.*/logs/console.p2") ]]; do
    kill -0 "$lab" || { cat "$work/output" && exit 1; }
    sleep 0.1
  done
  kill "-$1" "$lab"
  wait "$lab" 2>/dev/null || true
  expect_no_process "after SIG$1"
}

# In the order in which they run.
scenario a_good <<'END'
scenario() { expect_equal "answer" "$(on p1 'echo $((6 * 7))')" 42; }
END
scenario b_bad <<'END'
scenario() { on p1 'false; echo "not reached"'; echo "not reached"; }
END
scenario c_hangs <<'END'
limit_s=2
scenario() { on p1 'sleep 4242'; }
END
scenario d_hangs_on_a_host <<'END'
scenario() { on -t 1 p1 'sleep 4242'; }
END
scenario e_leaves_something <<'END'
scenario() {
  on p1 'setsid sleep 4242 </dev/null >/dev/null 2>&1 & mkdir -p /mnt/x && mount -t tmpfs x /mnt/x'
  cable_out p2
}
END
scenario f_finds_nothing <<'END'
scenario() {
  on p1 '! pidof sleep && ! grep /mnt/ /proc/mounts'
  # A port where nobody listens is refused at once, if the cable is in.
  expect_match "words" "$(on requester "(: </dev/tcp/${ADDRESS[p2]}/1) 2>&1 || true")" refused
}
END
scenario g_skips <<'END'
scenario() { skip "a reason"; }
END
scenario h_lacks_a_program <<'END'
needs="no-such-program"
scenario() { true; }
END
scenario i_switches_off <<'END'
scenario() {
  local status=0
  on_bg p1 'sleep 4242'
  power_off p1
  ! command_runs "$COMMAND" || fail "it still runs"
  on p1 true || status=$?
  expect_equal "status on a host that is off" "$status" 255
}
END
scenario j_finds_it_on_and_panics <<'END'
scenario() { on p1 'echo c >/proc/sysrq-trigger; sleep 4242' || true; }
END

if (lab) >"$work/output" 2>&1; then echo "the lab did not fail" && exit 1; fi
if grep -q '^SKIP lab.a_good' "$work/output"; then
  sed -n 's/^SKIP lab.a_good: //p' "$work/output"
  exit 77
fi
expect_line '^PASS lab.boot '
expect_line '^PASS lab.a_good '
expect_line '^FAIL lab.b_bad$'
expect_line '^FAIL lab.c_hangs$'
expect_line 'over the time limit'
expect_line '^FAIL lab.d_hangs_on_a_host$'
expect_line '^PASS lab.e_leaves_something '
expect_line '^PASS lab.f_finds_nothing '
expect_line '^SKIP lab.g_skips: a reason$'
expect_line '^SKIP lab.h_lacks_a_program: no no-such-program here$'
expect_line '^PASS lab.i_switches_off '
expect_line '^FAIL lab.j_finds_it_on_and_panics$'
expect_line 'Kernel panic'
expect_line '^5 passed, 4 failed, 2 skipped$'
if grep -Eq '^ *\| not reached' "$work/output"; then echo "went on after a failure" && exit 1; fi
expect_no_process "after the end"
expect_clean_end_by TERM
[[ -z $(ls "$work/tmp") ]] || { echo "left: $(ls "$work/tmp")" && exit 1; }
expect_clean_end_by KILL
