# shellcheck shell=bash disable=SC2034
# The random exerciser: 200,000 operations of several processes, every byte against an oracle.
matrix=all
limit_s=600
key=yes

operations() {
  local full=200000
  [[ $TRANSPORT.$FRONT_END == tcp.io_uring ]] || full=60000
  [[ $RUN_MODE == full ]] || full=$((full / 4))
  echo "${EXERCISER_OPERATIONS:-$full}"
}

scenario() {
  volume_start 3 256M
  "$EXERCISER" --dir "$MNT/exerciser" --operations "$(operations)" --processes 4 \
    --seed "${EXERCISER_SEED:-$RANDOM$RANDOM}" --time-limit $((limit_s * SLOW - 30)) --keep
  df -h "$MNT"
  rm -rf "$MNT/exerciser"
}
