# shellcheck shell=bash disable=SC2034
# Faults in the middle of a handshake, of the grant of a lease, of lanes that join it.
matrix=once
limit_s=300
waits=yes

scenario() {
  local step_bytes=31 seed=${CONNECT_SEED:-$RANDOM}
  [[ $RUN_MODE == full ]] || step_bytes=101
  export PYTHONDONTWRITEBYTECODE=1
  echo "seed $seed"
  python3 "$ROOT/tests/faults/connect.py" "$seed" "$step_bytes"
}
