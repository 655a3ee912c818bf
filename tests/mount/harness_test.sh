#!/bin/bash
# The scenario runner itself: it tells good from bad, ends what hangs, clears what is left behind.
# usage: harness_test.sh
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
# shellcheck source=tests/harness.sh
source "$here/../harness.sh"
# shellcheck source=tests/mount/processes.sh
source "$here/processes.sh"

sees_processes || { echo "no CAP_SYS_PTRACE" && exit 77; }

scenario good <<'END'
matrix=none
scenario() { echo fine; }
END
scenario bad <<'END'
matrix=none
scenario() { false; echo "not reached"; }
END
scenario bad_in_function <<'END'
matrix=none
inner() { expect_equal "one" 1 2; }
scenario() { inner; }
END
scenario bad_in_substitution <<'END'
matrix=none
scenario() { local got; got=$(cat /nowhere); }
END
scenario hangs <<'END'
matrix=none
limit_s=1
scenario() { sleep 1000; }
END
scenario leaves_a_daemon <<'END'
matrix=none
scenario() { setsid sleep 4242 </dev/null >/dev/null 2>&1 & }
END
scenario leaves_what_must_be_killed <<'END'
matrix=none
scenario() { (trap "" TERM && exec setsid sleep 4343 </dev/null >/dev/null 2>&1) & }
END
scenario skips <<'END'
matrix=none
scenario() { skip "a reason"; }
END
scenario lacks_a_program <<'END'
matrix=none
needs="no-such-program"
scenario() { true; }
END
scenario mounts_and_dies <<'END'
matrix=none
scenario() { mount -t tmpfs none "$MNT"; fail "on purpose"; }
END
# They wait for each other: one alone never ends.
for name in waits_for_other other_waits; do
  scenario $name <<'END'
matrix=none
limit_s=20
waits=yes
scenario() {
  : >"$WORK.has-begun"
  until [[ $(compgen -G "$(dirname "$WORK")/*.has-begun" | wc -l) -eq 2 ]]; do sleep 0.1; done
}
END
done
scenario waits_and_fails <<'END'
matrix=none
waits=yes
scenario() { fail "in the end"; }
END

if TMPDIR=$work RRAM_RESULTS=$work/results "$here/run_scenarios.sh" --build "$work" \
  --scenarios "$work/scenarios" >"$work/output" 2>&1; then
  echo "the runner did not fail" && exit 1
fi
expect_line '^PASS good \('
expect_line '^FAIL bad$'
expect_line '^FAIL bad_in_function$'
expect_line "one: got '1', expected '2'"
expect_line '^FAIL bad_in_substitution$'
expect_line '^FAIL hangs$'
expect_line 'over the time limit'
expect_line '^PASS leaves_a_daemon'
expect_line '^FAIL leaves_what_must_be_killed$'
expect_line 'processes had to be killed'
expect_line '^SKIP skips: a reason$'
expect_line '^SKIP lacks_a_program: no no-such-program here$'
expect_line '^FAIL mounts_and_dies$'
expect_line '^PASS waits_for_other'
expect_line '^PASS other_waits'
expect_line '^FAIL waits_and_fails$'
expect_line '^4 passed, 7 failed, 2 skipped$'
if grep -q "not reached" "$work/output"; then echo "went on after a failure" && exit 1; fi
if grep -qaE 'sleep.(4242|4343)' /proc/[0-9]*/cmdline 2>/dev/null; then
  echo "a daemon was left" && exit 1
fi
if grep -q "$work" /proc/self/mountinfo; then echo "a mount was left" && exit 1; fi
