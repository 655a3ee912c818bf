#!/bin/bash
# Which lines of the failure handling the tests reach: builds with gcov, runs the test programs and
# some scenarios on real mounts, and prints the coverage of each file with what was not reached.
# Not part of ./test.sh: it builds everything once more, without optimisation.
# usage: coverage.sh [--build DIR] [--no-mounts] [--filter REGEX]
#   --no-mounts  without the scenarios
#   --filter     only the suites that match
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
ROOT=$(dirname "$here")

BUILD=$ROOT/build-coverage
FILTER=.
MOUNTS=yes
# The others are pure: layout and namespace meet no failure.
SUITES='^(base|fusefs|file_gates|provider_unit|transport|wire|session|contract|hostile_peer|'
SUITES+='provider_server|provider_command)$'
# gcov writes when a program ends: what scenarios kill with SIGKILL leaves nothing behind. These
# end their daemons in order, too.
SCENARIOS='refusals|mount_and_detach|provider_stalled|provider_killed|provider_lifecycle|keys'
SCENARIOS+='|connect_interrupted|garbage_on_the_port|space_full|metadata_full|options_for_real'
SCENARIOS+='|requester_stopped|direct_io'
# What meets a failure of somebody else, or decides what becomes of one.
SOURCES=(
  base/event_loop.cc base/result.cc base/ring.cc
  rdma/connector.cc rdma/control/ rdma/endpoint.cc rdma/held_lease.h rdma/session/ rdma/shm/
  rdma/tcp/ rdma/transport.cc rdma/wire/
  provider/admission.cc provider/connection.cc provider/lease_keeper.cc provider/lease_table.cc
  provider/listener.cc provider/pool_filler.cc provider/scrubber.cc provider/segment.cc
  provider/server.cc provider/status.cc provider/worker.cc
  fusefs/background.cc fusefs/errno_of.cc fusefs/fan_out.h fusefs/file_io.cc
  fusefs/front/dev_queue.cc fusefs/front/fuse_request.cc fusefs/mounted_provider.cc
  fusefs/provider_link.cc fusefs/provider_list.cc fusefs/requester.cc fusefs/worker.cc
)

parse_options() {
  while [[ $# -gt 0 ]]; do
    case $1 in
      --build) BUILD=$2 && shift ;;
      --no-mounts) MOUNTS=no ;;
      --filter) FILTER=$2 && shift ;;
      *) echo "coverage.sh: unknown option $1" >&2 && exit 2 ;;
    esac
    shift
  done
}

build() {
  # Threads count at the same time.
  [[ -f $BUILD/build.ninja ]] ||
    meson setup "$BUILD" "$ROOT" -Dbuildtype=debug -Db_coverage=true -Dbenchmarks=disabled \
      -Dcpp_args=-fprofile-update=atomic
  ninja -C "$BUILD" --quiet
  find "$BUILD" -name '*.gcda' -delete
}

run_tests() {
  "$here/run_suites.sh" --build "$BUILD" --filter "$FILTER" --suites "$SUITES" --slow 3
  [[ $MOUNTS == yes ]] || return 0
  "$here/mount/run_scenarios.sh" --build "$BUILD" --quick --slow 3 --no-summary \
    --filter "($SCENARIOS)" || true
}

print_coverage() {
  local source
  local -a filters=()
  for source in "${SOURCES[@]}"; do filters+=(--filter "$ROOT/$source"); done
  gcovr --root "$ROOT" "${filters[@]}" --exclude-unreachable-branches --exclude-throw-branches \
    "$BUILD"
}

main() {
  parse_options "$@"
  "$here/install-packages.sh" build test coverage
  build
  run_tests
  print_coverage
}

# In one piece: the file may change while it runs.
{
  main "$@"
  exit
}
