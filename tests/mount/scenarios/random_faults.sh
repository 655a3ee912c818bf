# shellcheck shell=bash disable=SC2034
# Hundreds of random faults of processes and of the network, under a load that knows every byte that
# was acknowledged: it reads it back, or EIO where and while a provider is to blame.
# 500 in a full run; RANDOM_FAULTS=1000 runs so many each, RANDOM_FAULTS_SEED=S the same again.
matrix=all
transports="shm tcp"
limit_s=900
waits=yes
key=yes

scenario() {
  local count=150 # a run takes as long over the one as over the other
  case $RUN_MODE.$TRANSPORT in
    quick.*) count=30 ;;
    full.shm) count=100 ;;
  esac
  # Deadlines, and so the faults, last as much longer under a sanitizer.
  if ((SLOW > 1)); then count=15; fi
  export PYTHONDONTWRITEBYTECODE=1
  python3 "$ROOT/tests/faults/faults.py" random "${RANDOM_FAULTS:-$count}" \
    "${RANDOM_FAULTS_SEED:-$RANDOM$RANDOM}"
}
