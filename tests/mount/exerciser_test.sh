#!/bin/bash
# The exerciser passes on file systems that are right and fails on ones that are not.
# usage: exerciser_test.sh EXERCISER
set -eu

exerciser=$1
work=$(mktemp -d "${TMPDIR:-/tmp}/exerciser-test.XXXXXX")
trap 'rm -rf "$work"' EXIT

passes_on() {
  echo "passes on $(stat -f -c %T "$1")"
  "$exerciser" --dir "$1/good" --seed "$2" --operations 6000 --processes 3 --max-file-size 1M
}

fails_with() {
  echo "finds the fault '$1'"
  if "$exerciser" --dir "$work/bad-$1" --operations 4000 --processes 2 --max-file-size 1M \
    --inject-fault "$1" >"$work/output" 2>&1; then
    echo "not found; the exerciser said:"
    cat "$work/output"
    return 1
  fi
  # A file that is shorter than it should be ends a process that maps it.
  if grep -q 'ended by signal 7' "$work/output"; then return 0; fi
  grep -q 'FAILED seed=[0-9]* process=[0-9]* operation=[0-9]*' "$work/output"
  grep -Eq 'first differing offset|size [0-9]+, expected|[0-9]+ bytes, expected|end of file' "$work/output"
}

passes_on "$work" 1
if [[ -w /dev/shm ]]; then
  shm=$(mktemp -d /dev/shm/exerciser-test.XXXXXX)
  trap 'rm -rf "$work" "$shm"' EXIT
  passes_on "$shm" "$RANDOM"
fi
for fault in flip drop shift; do
  fails_with "$fault"
done
