#!/bin/bash
# The exerciser passes on file systems that are right and fails on ones that are not.
# usage: exerciser_test.sh EXERCISER
set -eu

exerciser=$1
work=$(mktemp -d "${TMPDIR:-/tmp}/exerciser-test.XXXXXX")
trap 'rm -rf "$work"' EXIT

passes_on() {
  echo "passes on $(stat -f -c %T "$1")"
  "$exerciser" --dir "$1/good" --seed "$2" --operations 6000 --processes 2 --threads 2 \
    --max-file-size 1M
}

# fails_with FAULT WORDS: what the exerciser says of it, a regular expression.
fails_with() {
  echo "finds the fault '$1'"
  if "$exerciser" --dir "$work/bad-$1" --operations 8000 --processes 2 --max-file-size 1M \
    --inject-fault "$1" >"$work/output" 2>&1; then
    echo "not found; the exerciser said:"
    cat "$work/output"
    return 1
  fi
  # A file that is shorter than it should be ends a process that maps it.
  if grep -q 'ended by signal 7' "$work/output"; then return 0; fi
  grep -q 'FAILED seed=[0-9]* worker=[0-9]* operation=[0-9]*' "$work/output"
  grep -Eq "$2" "$work/output"
}

passes_on "$work" 1
if [[ -w /dev/shm ]]; then
  shm=$(mktemp -d /dev/shm/exerciser-test.XXXXXX)
  trap 'rm -rf "$work" "$shm"' EXIT
  passes_on "$shm" "$RANDOM"
fi
bytes='first differing offset|size [0-9]+, expected|[0-9]+ bytes, expected|end of file'
fails_with flip "$bytes"
fails_with drop "$bytes"
fails_with shift "$bytes"
# One name too many, one too few, or another one there.
fails_with rename 'must not exist|is not listed|(success|File exists|No such file or directory), expected|type|size'
fails_with chmod 'mode [0-7]+, expected [0-7]+|access list of|as a stranger'
fails_with lock 'counter [0-9]: (somebody else|[0-9]+, expected|a child could not)'
