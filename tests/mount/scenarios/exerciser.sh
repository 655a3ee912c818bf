# shellcheck shell=bash disable=SC2034
# The random exerciser: operations of several processes and threads, every byte, name, attribute and
# lock against an oracle. Nothing may be left of them afterwards.
# A million in a full run. EXERCISER_OPERATIONS, EXERCISER_SEED and EXERCISER_OPTIONS choose another run.
matrix=all
limit_s=600
key=yes

operations() {
  local full=300000
  [[ $TRANSPORT.$FRONT_END == tcp.io_uring ]] || full=140000
  [[ $RUN_MODE == full ]] || full=$((full / 8))
  echo "${EXERCISER_OPERATIONS:-$full}"
}

scenario() {
  local free_bytes
  volume_start 3 256M
  free_bytes=$(free_bytes_of "$MNT")
  # shellcheck disable=SC2086 # a list of options
  "$EXERCISER" --dir "$MNT/exerciser" --operations "$(operations)" --processes 2 --threads 2 \
    --seed "${EXERCISER_SEED:-$RANDOM$RANDOM}" --time-limit $((limit_s * SLOW - 30)) --keep \
    ${EXERCISER_OPTIONS:-}
  df -h "$MNT"
  rm -rf "$MNT/exerciser"
  wait_until "$ENDING_S" "all space is free again" free_bytes_are "$free_bytes"
}

free_bytes_are() {
  [[ $(free_bytes_of "$MNT") == "$1" ]]
}
