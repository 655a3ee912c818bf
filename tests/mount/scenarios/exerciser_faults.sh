# shellcheck shell=bash disable=SC2034
# The random exerciser while providers fail, where its oracle still knows everything: providers that
# stall for less than the deadline are no error to anybody, and a provider that is dead is none to
# names, attributes and links.
# EXERCISER_OPERATIONS and EXERCISER_SEED choose another run.
matrix=cover
transports="shm tcp"
limit_s=240

STALLS_S="0.05 0.1 0.2 0.4 0.8 1.6" # with pauses between, below half of the deadline of 5 s

# exercise DIRECTORY OPTIONS...
exercise() {
  local operations=20000
  [[ $RUN_MODE == full ]] || operations=6000
  "$EXERCISER" --dir "$MNT/$1" --operations "${EXERCISER_OPERATIONS:-$operations}" --processes 2 \
    --threads 2 --max-file-size 1M --seed "${EXERCISER_SEED:-$RANDOM$RANDOM}" --keep "${@:2}"
  rm -rf "${MNT:?}/$1"
}

# Stops one provider after the other until it is ended, each with as much time to catch up; says how
# often.
stall_providers() {
  local -a providers=("${PROVIDER_PID[@]}") stalls
  local provider stall count=0
  read -ra stalls <<<"$STALLS_S"
  trap 'kill -CONT "${providers[@]}"; exit 0' TERM
  while true; do
    provider=${providers[count % ${#providers[@]}]}
    stall=${stalls[RANDOM % ${#stalls[@]}]}
    kill -STOP "$provider"
    sleep "$stall"
    kill -CONT "$provider"
    echo $((++count)) >"$WORK/stalls"
    sleep "$stall"
  done
}

scenario() {
  local stalling
  volume_start 3 96M

  step "providers stall, shortly"
  echo 0 >"$WORK/stalls"
  stall_providers &
  stalling=$!
  until [[ $(<"$WORK/stalls") -ge 3 ]]; do exercise stalls; done
  kill -TERM "$stalling"
  wait "$stalling"
  ! grep -q "cannot be reached" "$WORK/daemon1.err" || fail "$(cat "$WORK/daemon1.err")"

  step "a provider is dead"
  exercise names --names-only
  provider_kill p1
  exercise names --names-only
}
