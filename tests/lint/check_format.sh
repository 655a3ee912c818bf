#!/bin/bash
# Every C++ file is as clang-format 19 would write it.
set -euo pipefail

# shellcheck source=tests/lint/files.sh
source "$(dirname "$(readlink -f "$0")")/files.sh"

if ! command -v clang-format-19 >/dev/null; then
  echo "no clang-format-19 here"
  exit 77
fi
cd "$ROOT"
complaints=$(cpp_files | xargs -r clang-format-19 --dry-run -Werror 2>&1 || true)
if [[ -n $complaints ]]; then
  echo "clang-format-19 -i would change:"
  grep -oE '^[^ :]+:[0-9]+' <<<"$complaints" | cut -d : -f 1 | sort | uniq -c
  exit 1
fi
