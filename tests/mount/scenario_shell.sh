#!/bin/bash
# Runs one scenario in this process: scenario_shell.sh FILE. Started by run_scenarios.sh.
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
# shellcheck source=tests/report.sh
source "$here/../report.sh"
# shellcheck source=tests/mount/processes.sh
source "$here/processes.sh"
# shellcheck source=tests/mount/lib.sh
source "$here/lib.sh"
# shellcheck source=tests/mount/daemons.sh
source "$here/daemons.sh"

# Where a command failed; a scenario says nothing else when that happens.
trap 'echo "FAILED: line $LINENO: $BASH_COMMAND"' ERR
set -E

cd "$WORK"
mkdir -p "$MNT"
# shellcheck source=/dev/null
source "$1"
scenario
volume_stop
