# shellcheck shell=bash
# What the tests of the runners have in common. Sourced. $work is a directory for them.

work=$(mktemp -d "${TMPDIR:-/tmp}/harness-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/scenarios"

# scenario NAME: its text comes on standard input.
scenario() {
  cat >"$work/scenarios/$1.sh"
}

# expect_line REGEX: the runner said so.
expect_line() {
  grep -Eq "$1" "$work/output" || { echo "missing: $1" && cat "$work/output" && exit 1; }
}
