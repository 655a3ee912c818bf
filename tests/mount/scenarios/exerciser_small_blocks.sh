# shellcheck shell=bash disable=SC2034
# The exerciser with the smallest stripe unit and little memory: fragmentation and reuse.
matrix=cover
limit_s=240

scenario() {
  local operations=40000
  [[ $RUN_MODE == full ]] || operations=10000
  volume_start 2 64M stripe=64K
  "$EXERCISER" --dir "$MNT/exerciser" --operations "$operations" --processes 2 --threads 2 \
    --max-file-size 1M --max-total-size 48M --seed "${EXERCISER_SEED:-$RANDOM$RANDOM}" --keep
  rm -rf "$MNT/exerciser"
}
