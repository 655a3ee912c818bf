# shellcheck shell=bash disable=SC2034
# Bits that flip anywhere, in handshakes, headers and payload: nothing crashes, hangs or is left.
matrix=once
limit_s=120
waits=yes
key=yes

scenario() {
  local count=600
  [[ $RUN_MODE == full ]] || count=150
  export PYTHONDONTWRITEBYTECODE=1
  python3 "$ROOT/tests/faults/scramble.py" "$count" "$RANDOM$RANDOM"
}
