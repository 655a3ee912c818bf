#!/bin/bash
# clang-tidy 19 over our sources, with the commands of a build. What passed is remembered by the
# content of the file and of all headers of ours that it includes, so only changes cost time.
# usage: check_tidy.sh [--changed] BUILD     (--changed: only what differs from the last commit)
set -euo pipefail

# shellcheck source=tests/lint/files.sh
source "$(dirname "$(readlink -f "$0")")/files.sh"

ONLY_CHANGED=no
if [[ ${1:-} == --changed ]]; then
  ONLY_CHANGED=yes
  shift
fi
BUILD=$(readlink -f "$1")
WORK=$BUILD/tidy

need_tools() {
  if ! command -v clang-tidy-19 >/dev/null || [[ ! -f $BUILD/compile_commands.json ]]; then
    echo "no clang-tidy-19 here, or no build at $BUILD"
    exit 77
  fi
}

# clang-tidy would take "ccache" for the compiler.
write_commands() {
  mkdir -p "$WORK/passed"
  jq '[.[] | .command |= sub("^ccache "; "")]' "$BUILD/compile_commands.json" \
    >"$WORK/compile_commands.json"
}

# Lines "object: deps" of ninja as "source TAB header", ours only, relative to the root.
write_dependencies() {
  ninja -C "$BUILD" -t deps |
    awk '/^[^ ].*#deps/ { first = 1; next }
         /^ / { sub(/^ +/, ""); if (first) { source = $0; first = 0 } print source "\t" $0 }' |
    while IFS=$'\t' read -r source header; do
      [[ $header == ../* || $header == "$ROOT"/* ]] && echo "$source"$'\t'"$header"
    done >"$WORK/dependencies" || true
}

wanted_files() {
  local known
  known=$(jq -r '.[] | .directory + "/" + .file' "$WORK/compile_commands.json" |
    xargs -r realpath -m --relative-to="$ROOT" | sort -u)
  if [[ $ONLY_CHANGED == yes ]]; then
    changed_files | sort -u | comm -12 - <(echo "$known")
  else
    echo "$known"
  fi
}

changed_files() {
  local git=(git -C "$ROOT" -c safe.directory='*')
  if "${git[@]}" rev-parse -q --verify HEAD >/dev/null; then
    "${git[@]}" diff --name-only HEAD
  else
    "${git[@]}" ls-files
  fi
  "${git[@]}" ls-files --others --exclude-standard
}

# The key under which a file is remembered.
content_key() {
  local file=$1 seen_as
  seen_as=$(realpath -m --relative-to="$BUILD" "$ROOT/$file")
  {
    cat "$ROOT/.clang-tidy" "$ROOT/$file"
    awk -F '\t' -v source="$seen_as" '$1 == source { print $2 }' "$WORK/dependencies" | sort -u |
      (cd "$BUILD" && xargs -r sha256sum)
  } | sha256sum | cut -d ' ' -f 1
}

tidy_one() {
  local file=$1 key
  key=$WORK/passed/$(content_key "$file")
  [[ ! -e $key ]] || return 0
  if clang-tidy-19 --quiet --warnings-as-errors='*' -p "$WORK" \
    --extra-arg=-Wno-unknown-warning-option "$ROOT/$file" >"$key.log" 2>"$key.err"; then
    : >"$key"
    rm -f "$key.log" "$key.err"
    return 0
  fi
  grep -vE 'warnings? (generated|treated)|Suppressed|Use -header-filter' "$key.log" "$key.err" -h || true
  rm -f "$key.log" "$key.err"
  return 1
}

main() {
  need_tools
  write_commands
  write_dependencies
  export ROOT BUILD WORK
  export -f tidy_one content_key
  # shellcheck disable=SC2016 # for the inner shell
  wanted_files | xargs -r -P "$(nproc)" -n 1 nice bash -c 'tidy_one "$0"'
}

main
