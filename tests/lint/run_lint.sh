#!/bin/bash
# All checks of the text of the tree. usage: run_lint.sh [--all] [--build DIR]
# clang-tidy looks at what changed since the last commit; with --all at everything.
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
ROOT=$(readlink -f "$here/../..")
# shellcheck source=tests/report.sh
source "$ROOT/tests/report.sh"

BUILD=$ROOT/build
TIDY=(--changed)
while [[ $# -gt 0 ]]; do
  case $1 in
    --all) TIDY=() ;;
    --build) BUILD=$2 && shift ;;
    *) echo "run_lint.sh: unknown option $1" >&2 && exit 2 ;;
  esac
  shift
done

RRAM_LOG_LINES=60
status=0
run_check lint.arrows "$here/check_arrows.sh" || status=1
run_check lint.text "$here/check_text.sh" || status=1
run_check lint.format "$here/check_format.sh" || status=1
run_check lint.shell "$here/check_shell.sh" || status=1
run_check lint.built "$here/check_built.sh" "$BUILD" || status=1
run_check lint.tidy "$here/check_tidy.sh" "${TIDY[@]}" "$BUILD" || status=1
exit "$status"
