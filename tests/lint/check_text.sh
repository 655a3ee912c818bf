#!/bin/bash
# What must not stand in any file of the tree: paths of somebody's machine, words that have a
# better one in our vocabulary, unfinished business without an end, tabs and trailing blanks.
set -euo pipefail

# shellcheck source=tests/lint/files.sh
source "$(dirname "$(readlink -f "$0")")/files.sh"

WRONG=0

text_files() {
  tree_files | grep -vE '^(tests/fuzz/corpus/|bench/reports/)|\.(png|svg|pdf|pcap)$'
}

# forbid WHY REGEX FILE...
forbid() {
  local why=$1 pattern=$2 found
  shift 2
  [[ $# -gt 0 ]] || return 0
  found=$(grep -nIE -- "$pattern" "$@" | head -n 20 || true)
  [[ -n $found ]] || return 0
  echo "$why:"
  echo "$found" | cut -c 1-160
  WRONG=1
}

check_headers() {
  local file
  for file in "$@"; do
    grep -q '^#pragma once$' "$ROOT/$file" || { echo "$file has no #pragma once" && WRONG=1; }
  done
}

main() {
  local -a all code headers
  cd "$ROOT"
  mapfile -t all < <(text_files)
  mapfile -t code < <(cpp_files)
  mapfile -t headers < <(printf '%s\n' "${code[@]}" | grep '\.h$' || true)
  forbid "a path of one machine" '(^|[^[:alnum:]_.~$}])/(work|home|root)/' "${all[@]}"
  forbid "a synonym: say provider, requester, pool, stripe unit, lane (DESIGN)" \
    '\b([Dd]onors?|[Bb]ricks?|[Mm]emory (server|node)s?|[Ss]torage nodes?|[Ss]tripe sizes?)\b' \
    "${all[@]}"
  forbid "a TODO without the condition that ends it (write: TODO(until ...))" \
    '\b(TODO|FIXME|XXX)\b($|[^(])' "${code[@]}"
  forbid "using namespace in a header" '^ *using namespace' "${headers[@]}"
  forbid "a blank at the end of a line" '[[:blank:]]+$' "${code[@]}"
  forbid "a tab" "$(printf '\t')" "${code[@]}"
  check_headers "${headers[@]}"
  return "$WRONG"
}

main
