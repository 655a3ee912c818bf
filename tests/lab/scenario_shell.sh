#!/bin/bash
# Runs one scenario in this process: scenario_shell.sh FILE. Started by session.sh.
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
# shellcheck source=tests/report.sh
source "$here/../report.sh"
# shellcheck source=tests/mount/lib.sh
source "$here/../mount/lib.sh"
# shellcheck source=tests/lab/network.sh
source "$here/network.sh"
# shellcheck source=tests/lab/machines.sh
source "$here/machines.sh"
# shellcheck source=tests/lab/agent.sh
source "$here/agent.sh"
# shellcheck source=tests/lab/lib.sh
source "$here/lib.sh"

SCENARIO=$1

# Which line of the scenario failed; it says nothing else when that happens.
say_where() {
  local i
  for ((i = 1; i < ${#BASH_SOURCE[@]}; ++i)); do
    [[ ${BASH_SOURCE[i]} == "$SCENARIO" ]] || continue
    echo "FAILED: $(basename "$SCENARIO"):${BASH_LINENO[i - 1]}:" \
      "$(sed -n "${BASH_LINENO[i - 1]}{s/^ *//;p}" "$SCENARIO")"
    return
  done
  echo "FAILED: $1"
}
trap 'say_where "$BASH_COMMAND"' ERR
set -E

cd "$WORK"
# shellcheck source=/dev/null
source "$SCENARIO"
scenario
volume_stop
