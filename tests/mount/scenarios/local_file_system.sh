# shellcheck shell=bash disable=SC2034
# What only a local file system does: locks, file handles, holes, large directories, swap refused.
matrix=all
limit_s=300
key=yes
needs="python3 mkswap"

scenario() {
  local entries=20000
  [[ $(id -u) -eq 0 ]] || skip "needs root, to make devices and open file handles"
  # Once with as many as people have asked for.
  [[ $RUN_MODE.$TRANSPORT.$FRONT_END != full.local.io_uring ]] || entries=1000000
  volume_start 2 128M dev
  mkdir "$WORK/tmpfs"
  mount -t tmpfs -o size=64M tmpfs "$WORK/tmpfs"
  let_others_in
  python3 "$ROOT/tests/mount/local_file_system.py" "$MNT" "$WORK/tmpfs" "$entries"
  umount "$WORK/tmpfs"
}
