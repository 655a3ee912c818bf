# shellcheck shell=bash disable=SC2034
# The same random system calls of several users here and on tmpfs and ext4, compared call by call.
# docs/conformance.md says what is left out, and why.
# DIFFERENTIAL_OPERATIONS and DIFFERENTIAL_SEED choose another run.
matrix=all
limit_s=600
needs="mkfs.ext4"

operations() {
  local full=100000
  [[ $TRANSPORT.$FRONT_END == tcp.io_uring ]] || full=20000
  [[ $RUN_MODE == full ]] || full=$((full / 5))
  echo "${DIFFERENTIAL_OPERATIONS:-$full}"
}

# compare REFERENCE OPTIONS...
compare() {
  local reference=$1
  shift
  step "as on $reference"
  mkdir "$WORK/$reference/tree" "$MNT/$reference"
  "$BUILD/tests/mount/differential" "$WORK/$reference/tree" "$MNT/$reference" \
    --operations "$(operations)" --seed "${DIFFERENTIAL_SEED:-$RANDOM$RANDOM}" "$@"
  umount "$WORK/$reference"
  rm -rf "${MNT:?}/$reference"
}

scenario() {
  [[ $(id -u) -eq 0 ]] || skip "needs root, to act as other users and to mount"
  volume_start 2 512M dev,suid,noatime
  mkdir "$WORK/tmpfs" "$WORK/ext4"

  mount -t tmpfs -o size=1G,noatime tmpfs "$WORK/tmpfs"
  # tmpfs has no ZERO_RANGE.
  compare tmpfs --without zero-range

  truncate -s 1G "$WORK/ext4.img"
  mkfs.ext4 -q -I 256 "$WORK/ext4.img"
  mount -o loop,noatime "$WORK/ext4.img" "$WORK/ext4"
  # ext4 stamps both directories when a rename that would leave a whiteout fails, and does not stamp
  # a file when a list that it does not have is removed.
  compare ext4 --without rename-whiteout --without remove-acl
}
