#!/bin/bash
# Every shell script of the tree passes shellcheck.
set -euo pipefail

# shellcheck source=tests/lint/files.sh
source "$(dirname "$(readlink -f "$0")")/files.sh"

if ! command -v shellcheck >/dev/null; then
  echo "no shellcheck here"
  exit 77
fi
cd "$ROOT"
shell_files | xargs -r -n 20 shellcheck --external-sources --exclude=SC2317
