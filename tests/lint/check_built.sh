#!/bin/bash
# No source file lies dead: each .cc is compiled by the build in the directory given (fuzz targets
# by a build of their own). usage: check_built.sh BUILD
set -euo pipefail

# shellcheck source=tests/lint/files.sh
source "$(dirname "$(readlink -f "$0")")/files.sh"

commands=$1/compile_commands.json
if [[ ! -f $commands ]]; then
  echo "no build at $1"
  exit 77
fi

built=$(jq -r '.[] | .directory + "/" + .file' "$commands" | xargs -r realpath -m | sort -u)
dead=$(cpp_files | grep '\.cc$' | grep -v '^tests/fuzz/' | sed "s@^@$ROOT/@" | sort -u |
  comm -23 - <(echo "$built"))
if grep -q '"bench/' <<<"$built" || ! grep -q "$ROOT/bench/" <<<"$built"; then
  dead=$(grep -v "^$ROOT/bench/" <<<"$dead" || true) # benchmarks are an option
fi
if [[ -n $dead ]]; then
  echo "not built by any meson.build:"
  echo "$dead"
  exit 1
fi
