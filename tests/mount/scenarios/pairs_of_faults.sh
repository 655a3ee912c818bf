# shellcheck shell=bash disable=SC2034
# Every fault of DESIGN's table alone, and every two of them at once, under load; in a quick run a
# sample of the pairs.
matrix=cover
transports="shm tcp"
limit_s=900

scenario() {
  local share=1
  [[ $RUN_MODE == full ]] || share=0.05
  export PYTHONDONTWRITEBYTECODE=1
  python3 "$ROOT/tests/faults/faults.py" pairs "${RANDOM_FAULTS_SEED:-$RANDOM$RANDOM}" "$share"
}
