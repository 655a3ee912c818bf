#!/bin/bash
# Installs with apt what building and testing need and what is missing.
# usage: install-packages.sh [build] [test] [lint] [lab] [coverage]     (default: build)
set -eu

NO_CLUSTER=/etc/postgresql-common/createcluster.d/rram-tests.conf

packages_of() {
  case $1 in
    build) echo ca-certificates meson ninja-build g++ ccache pkg-config fuse3 libfuse3-dev \
      liburing-dev libboost1.81-dev libfmt-dev libspdlog-dev libcli11-dev libssl-dev \
      librdmacm-dev libibverbs-dev \
      nlohmann-json3-dev libgtest-dev librapidcheck-dev libbenchmark-dev ;;
    test) echo fio sqlite3 git jq attr acl e2fsprogs psmisc procps util-linux iproute2 python3 \
      postgresql-15 dbench fsmark bonnie++ stress-ng ;;
    lint) echo clang-19 clang-tidy-19 clang-format-19 libclang-rt-19-dev shellcheck jq ;;
    lab) echo qemu-system-x86 linux-image-amd64 busybox-static cpio xz-utils kmod iproute2 \
      util-linux rdma-core rdmacm-utils perftest fio jq ;;
    coverage) echo gcovr ;;
    *)
      echo "install-packages.sh: no group '$1'; there are build, test, lint, lab and coverage" >&2
      exit 2
      ;;
  esac
}

is_installed() {
  [[ $(dpkg-query -W -f '${Status}' "$1" 2>/dev/null) == "install ok installed" ]]
}

missing_of() {
  local package
  for package in "$@"; do
    is_installed "$package" || echo "$package"
  done
}

# Debian's PostgreSQL makes a cluster and starts a server when it is installed; the tests want its
# programs alone.
forbid_database_server() {
  mkdir -p "$(dirname "$NO_CLUSTER")"
  echo "create_main_cluster = off" >"$NO_CLUSTER"
}

fail() {
  echo "install-packages.sh: $*" >&2
  exit 1
}

install() {
  local log
  log=$(mktemp)
  trap 'rm -f "$NO_CLUSTER"' EXIT
  echo "installing: $*"
  if ! apt-get update -qq >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    fail "apt-get update failed; is there a network?"
  fi
  if [[ " $* " == *" postgresql-"* ]]; then forbid_database_server; fi
  # libboost1.81-dev and the default libboost-dev (1.74) exclude each other; apt replaces it.
  if ! DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" \
    >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    fail "apt-get install failed for: $*"
  fi
  rm -f "$log"
}

main() {
  local group missing
  local -a wanted=() names
  [[ $# -gt 0 ]] || set -- build
  for group in "$@"; do
    names=()
    read -r -d '' -a names < <(packages_of "$group") || true
    [[ ${#names[@]} -gt 0 ]] || exit 2
    wanted+=("${names[@]}")
  done
  command -v apt-get >/dev/null || fail "this needs a Debian 12 system (no apt-get here)"
  missing=$(missing_of "${wanted[@]}" | sort -u)
  [[ -n $missing ]] || return 0
  [[ $(id -u) -eq 0 ]] || fail "as root please; missing: ${missing//$'\n'/ }"
  mapfile -t wanted <<<"$missing"
  install "${wanted[@]}"
}

main "$@"
