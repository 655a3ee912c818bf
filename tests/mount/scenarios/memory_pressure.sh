# shellcheck shell=bash disable=SC2034
# A program with little memory fills a large mapping and reads it back: the pages go out through the
# daemon while there is no memory left, and nothing hangs.
matrix=cover
limit_s=180
needs="python3"

# A new memory group that holds $1 bytes; its path is left in $GROUP. False: none can be made here.
make_memory_group() {
  local root
  if root=$(findmnt -n -o TARGET -t cgroup2 | head -n 1) && [[ -n $root ]] &&
    grep -qw memory "$root/cgroup.subtree_control"; then
    GROUP=$root/rram-test-$$
    mkdir "$GROUP" && echo "$1" >"$GROUP/memory.max"
  elif root=$(findmnt -n -o TARGET -t cgroup -O memory | head -n 1) && [[ -n $root ]]; then
    GROUP=$root/rram-test-$$
    mkdir "$GROUP" && echo "$1" >"$GROUP/memory.limit_in_bytes"
  else
    return 1
  fi
}

scenario() {
  [[ $(id -u) -eq 0 ]] || skip "needs root, to limit memory"
  make_memory_group $((40 << 20)) || skip "no memory control group can be made here"
  volume_start 2 128M
  # The group takes this shell's children that enter it, not the daemon, which runs already.
  (
    echo "$BASHPID" >"$GROUP/cgroup.procs"
    exec python3 - "$MNT/mapped" <<'PYTHON'
import mmap, os, sys
size = 160 << 20
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.ftruncate(file, size)
memory = mmap.mmap(file, size)
for page in range(0, size, 4096):
    memory[page:page + 8] = page.to_bytes(8, "little")
memory.flush()
for page in range(0, size, 4096):
    assert memory[page:page + 8] == page.to_bytes(8, "little"), page
PYTHON
  )
  rmdir "$GROUP"
  step "the data is where it belongs"
  drop_caches
  expect_equal "a page in the middle" \
    "$(od -A n -t u8 -j $((80 << 20)) -N 8 "$MNT/mapped" | tr -d ' ')" $((80 << 20))
}
