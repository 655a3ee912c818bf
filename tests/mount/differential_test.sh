#!/bin/bash
# The differential test finds no difference where there is none, and finds one that there is.
# usage: differential_test.sh DIFFERENTIAL
set -eu

[[ $(id -u) -eq 0 ]] || exit 77 # it acts as other users
differential=$1
work=$(mktemp -d "${TMPDIR:-/tmp}/differential-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work"/{same1,same2,other1,other2}

"$differential" "$work/same1" "$work/same2" --operations 5000

# One side has a name that the other has not: some call meets it.
touch "$work/other2/a"
if "$differential" "$work/other1" "$work/other2" --operations 5000 >"$work/output"; then
  echo "a difference was not found"
  exit 1
fi
grep -q 'FAILED seed=[0-9]*' "$work/output"
grep -q '^< ' "$work/output"
grep -q '^> ' "$work/output"
