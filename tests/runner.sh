# shellcheck shell=bash
# shellcheck disable=SC2034 # runners use what is set here
# What the runners of scenarios have in common. Sourced after report.sh, with $ROOT set.

BUILD=$ROOT/build
FILTER=.
SCENARIO_DIRECTORIES=()
ONLY_LIST=no
SUMMARY=yes

# take_option OPTION [VALUE...]: one that every runner has; how many words it took is left in $TAKEN.
# Fails when it is none of these.
take_option() {
  TAKEN=2
  case $1 in
    --build) BUILD=$(readlink -f "$2") ;;
    --filter) FILTER=$2 ;;
    --scenarios) SCENARIO_DIRECTORIES=("$(readlink -f "$2")") ;;
    --list) ONLY_LIST=yes TAKEN=1 ;;
    --no-summary) SUMMARY=no TAKEN=1 ;;
    *) return 1 ;;
  esac
}

# A file to count the results in, where nobody else does.
open_results() {
  if [[ -z ${RRAM_RESULTS:-} || $RRAM_RESULTS == /dev/null ]]; then RRAM_RESULTS=$(mktemp); fi
}
