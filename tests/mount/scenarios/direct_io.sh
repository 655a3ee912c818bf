# shellcheck shell=bash disable=SC2034
# Past the page cache: the same answers, and shared mappings still work.
matrix=cover
limit_s=120
needs="python3"

scenario() {
  [[ $(id -u) -eq 0 ]] || skip "needs root, to act as other users and to mount"
  volume_start 2 256M direct_io,dev,suid,noatime
  mkdir "$WORK/tmpfs"
  mount -t tmpfs -o size=512M,noatime tmpfs "$WORK/tmpfs"
  mkdir "$WORK/tmpfs/tree" "$MNT/tree"

  step "a shared mapping and direct writes see each other"
  python3 - "$MNT/mapped" <<'PYTHON'
import mmap, os, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.ftruncate(file, 8192)
memory = mmap.mmap(file, 8192)
memory[0:5] = b"store"
memory.flush()
assert os.pread(file, 5, 0) == b"store"
os.pwrite(file, b"write", 4096)
assert memory[4096:4101] == b"write", memory[4096:4101]
PYTHON

  step "as on tmpfs"
  "$BUILD/tests/mount/differential" "$WORK/tmpfs/tree" "$MNT/tree" \
    --operations 10000 --seed "${DIFFERENTIAL_SEED:-$RANDOM$RANDOM}" \
    --without zero-range
  umount "$WORK/tmpfs"
}
