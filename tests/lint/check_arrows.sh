#!/bin/bash
# Who may include whom: fusefs -> rdma -> base, provider -> rdma -> base, never between fusefs and
# provider; each foreign library in its own place; transports do not know each other.
set -euo pipefail

# shellcheck source=tests/lint/files.sh
source "$(dirname "$(readlink -f "$0")")/files.sh"

WRONG=0

wrong() {
  echo "$1 includes $2: $3"
  WRONG=1
}

check_own_include() {
  local file=$1 included=$2 allowed
  case $file in
    base/*) allowed='^base/' ;;
    rdma/*) allowed='^(rdma|base)/' ;;
    provider/*) allowed='^(provider|rdma|base)/' ;;
    fusefs/*) allowed='^(fusefs|rdma|base)/' ;;
    *) return 0 ;;
  esac
  [[ $included =~ $allowed ]] || wrong "$file" "\"$included\"" "the arrows go ${allowed#^}"
}

check_foreign_include() {
  local file=$1 included=$2
  case $included in
    fuse* | linux/fuse*)
      [[ $file == fusefs/front/* ]] || wrong "$file" "<$included>" "only fusefs/front does"
      ;;
    infiniband/* | rdma/*)
      [[ $file == rdma/verbs/* ]] || wrong "$file" "<$included>" "only rdma/verbs does"
      ;;
    liburing*)
      [[ $file =~ ^(base/(ring|event_loop|io)[^/]*|rdma/(tcp|shm)/.*)$ ]] ||
        wrong "$file" "<$included>" "only the loop in base, rdma/tcp and rdma/shm do"
      ;;
  esac
}

# A transport includes no other; outside, only the connector names more than one.
check_transports() {
  local file=$1 used own
  used=$(sed -nE 's@^#include "rdma/(local|shm|tcp|verbs)/.*@\1@p' "$ROOT/$file" | sort -u)
  case $file in
    rdma/connector.* | tests/* | bench/*) return 0 ;;
    rdma/local/* | rdma/shm/* | rdma/tcp/* | rdma/verbs/*)
      own=$(cut -d / -f 2 <<<"$file")
      used=$(grep -vxF "$own" <<<"$used" || true)
      [[ -z $used ]] || wrong "$file" "${used//$'\n'/ }" "a transport knows no other"
      ;;
    *)
      [[ $(wc -w <<<"$used") -le 1 ]] ||
        wrong "$file" "${used//$'\n'/ }" "only rdma/connector.* names more than one transport"
      ;;
  esac
}

check_file() {
  local file=$1 line
  while read -r line; do
    case $line in
      \"*) check_own_include "$file" "${line//\"/}" ;;
      \<*) check_foreign_include "$file" "${line//[<>]/}" ;;
    esac
  done < <(sed -nE 's@^ *# *include *(["<][^">]*[">]).*@\1@p' "$ROOT/$file")
  check_transports "$file"
}

main() {
  local file
  while read -r file; do
    # Fuzz targets, tests and benchmarks stand outside and may look at everything.
    case $file in
      base/* | rdma/* | provider/* | fusefs/*) check_file "$file" ;;
    esac
  done < <(cpp_files)
  return "$WRONG"
}

main
