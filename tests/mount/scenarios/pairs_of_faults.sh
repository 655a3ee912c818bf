# shellcheck shell=bash disable=SC2034
# Every fault of the table in docs/failure.md alone, and two of them at once, under load: a sample of the
# pairs, larger in a full run; PAIRS_OF_FAULTS=1 runs all of them.
matrix=cover
transports="shm tcp"
limit_s=900
waits=yes

scenario() {
  local share=${PAIRS_OF_FAULTS:-0.05}
  [[ $RUN_MODE == full ]] || share=0.03
  export PYTHONDONTWRITEBYTECODE=1
  python3 "$ROOT/tests/faults/faults.py" pairs "${RANDOM_FAULTS_SEED:-$RANDOM$RANDOM}" "$share"
}
