#!/bin/bash
# A first mount on this host: installs and builds what is missing, starts two providers of 1 GiB,
# mounts their memory, and uses it a little.
#   ./quickstart.sh           leaves a usable mount at /mnt/ramstripe
#   ./quickstart.sh --stop    undoes it
set -euo pipefail

ROOT=$(dirname "$(readlink -f "$0")")
BUILD=$ROOT/build
STATE=/run/rram
MOUNT_POINT=/mnt/ramstripe
PROVIDER=$BUILD/provider/rram-provider
RRAMFS=$BUILD/fusefs/rramfs
NAMES=(first second)
declare -A PORT=([first]=7470 [second]=7471)
LOG=$STATE/quickstart.log

say() {
  echo "==> $*"
}

fail() {
  echo "quickstart.sh: $*" >&2
  exit 1
}

# Shows a command as one to copy, and does it.
run() {
  echo "    $*"
  "$@"
}

need_root() {
  [[ $(id -u) -eq 0 ]] || fail "as root please: it installs packages and mounts"
}

is_mounted() {
  grep -q " $MOUNT_POINT .* - fuse.rramfs " /proc/self/mountinfo
}

build_all() {
  say "building (release) in $BUILD; the first time takes minutes"
  if [[ ! -f $BUILD/build.ninja ]]; then
    if [[ -z ${CXX:-} ]] && command -v ccache >/dev/null; then export CXX="ccache g++"; fi
    meson setup "$BUILD" "$ROOT" -Dbuildtype=release >"$LOG" 2>&1 ||
      fail "meson setup failed; see $LOG"
  fi
  # ninja shows on one line how far it is.
  ninja -C "$BUILD" provider/rram-provider fusefs/rramfs || fail "the build failed"
}

# /dev/fuse works everywhere; this way is faster where the kernel offers it.
enable_fuse_over_io_uring() {
  local switch=/sys/module/fuse/parameters/enable_uring
  [[ -d /sys/module/fuse ]] || modprobe fuse 2>/dev/null || true
  if [[ ! -e $switch ]]; then
    say "this kernel has no FUSE over io_uring; /dev/fuse is used"
  elif [[ $(cat "$switch") == Y ]]; then
    say "FUSE over io_uring is enabled"
  elif (echo Y >"$switch") 2>/dev/null; then
    : >"$STATE/enabled-uring"
    say "enabled FUSE over io_uring (until --stop or the next boot)"
    echo "    echo Y > $switch"
  else
    say "FUSE over io_uring cannot be enabled here; /dev/fuse is used"
  fi
}

# The process id of a provider that this script started and that still runs; else nothing.
running_provider() {
  local pid
  pid=$(cat "$STATE/$1.pid" 2>/dev/null) || return 0
  if [[ $(readlink "/proc/$pid/exe" 2>/dev/null) == "$(readlink -f "$PROVIDER")"* ]]; then
    echo "$pid"
  fi
}

start_provider() {
  local name=$1 pid i
  local -a command=("$PROVIDER" --size 1G --name "$name" --listen "tcp://127.0.0.1:${PORT[$name]}"
    --unix "$STATE/$name.sock")
  if [[ -n $(running_provider "$name") ]]; then
    say "provider $name runs already"
    return 0
  fi
  echo "    ${command[*]} &"
  setsid "${command[@]}" >"$STATE/$name.out" 2>"$STATE/$name.log" </dev/null &
  pid=$!
  echo "$pid" >"$STATE/$name.pid"
  for ((i = 0; i < 600; ++i)); do
    if [[ -s $STATE/$name.out ]]; then
      sed 's/^/      /' "$STATE/$name.out"
      return 0
    fi
    [[ -d /proc/$pid ]] || fail "provider $name ended: $(tail -n 3 "$STATE/$name.log")"
    sleep 0.1
  done
  fail "provider $name is not ready after a minute; see $STATE/$name.log"
}

start_providers() {
  local name
  say "two providers of 1 GiB each, on this host, as separate processes"
  for name in "${NAMES[@]}"; do start_provider "$name"; done
}

mount_volume() {
  local providers=tcp://127.0.0.1:${PORT[first]}+tcp://127.0.0.1:${PORT[second]}
  say "one volume over both"
  mkdir -p "$MOUNT_POINT"
  if is_mounted && timeout 5 stat -f "$MOUNT_POINT" >/dev/null 2>&1; then
    echo "    $MOUNT_POINT is mounted already"
    return 0
  fi
  run "$RRAMFS" "$MOUNT_POINT" -o "providers=$providers" || fail "the mount failed"
}

copy_a_tree() {
  local tree=/usr/include copy=$MOUNT_POINT/quickstart-include
  [[ -d $tree ]] || tree=/etc
  say "a real tree: $tree ($(du -sh "$tree" | cut -f 1), $(find "$tree" -type f | wc -l) files)"
  rm -rf "$copy"
  run cp -a "$tree" "$copy"
  run diff -r --no-dereference "$tree" "$copy" || fail "the copy differs"
  echo "    no difference"
}

short_fio() {
  local name=$MOUNT_POINT/quickstart-fio
  say "a short fio: 1 MiB sequential, then 4 KiB random, direct I/O"
  fio_line "write 1 MiB" --rw=write --bs=1m --filename="$name"
  fio_line "read 1 MiB" --rw=read --bs=1m --filename="$name"
  fio_line "read 4 KiB" --rw=randread --bs=4k --iodepth=16 --filename="$name"
  rm -f "$name"
}

# fio_line WHAT OPTIONS...
fio_line() {
  local what=$1
  shift
  fio --name=quickstart --size=256m --direct=1 --ioengine=io_uring --iodepth=4 --runtime=3 \
    --output-format=json "$@" >"$STATE/fio.json" 2>>"$LOG" || fail "fio failed; see $LOG"
  jq -r --arg what "$what" '.jobs[0] | (if .read.io_bytes > 0 then .read else .write end) |
    "    \($what): \(.bw / 1024 | floor) MiB/s, \(.iops | floor) operations/s"' "$STATE/fio.json"
}

closing_words() {
  cat <<TEXT
==> $MOUNT_POINT is yours: 2 GiB of memory of two providers as one file system.
    by hand:
      $PROVIDER --size 1G --listen tcp://127.0.0.1:7470
      $RRAMFS $MOUNT_POINT -o providers=tcp://127.0.0.1:7470
    counters of a provider:
      $PROVIDER --status unix://$STATE/first.sock
    detach:
      fusermount3 -u $MOUNT_POINT
    undo everything:
      $ROOT/quickstart.sh --stop
TEXT
}

start() {
  need_root
  mkdir -p "$STATE"
  "$ROOT/tests/install-packages.sh" build test
  build_all
  enable_fuse_over_io_uring
  start_providers
  mount_volume
  run df -hT "$MOUNT_POINT"
  copy_a_tree
  short_fio
  run df -hT "$MOUNT_POINT"
  closing_words
}

wait_until_gone() {
  local i
  for ((i = 0; i < 150; ++i)); do
    [[ -d /proc/$1 ]] || return 0
    sleep 0.1
  done
  return 1
}

stop_provider() {
  local pid
  pid=$(running_provider "$1")
  if [[ -n $pid ]]; then
    kill -TERM "$pid"
    wait_until_gone "$pid" || kill -KILL "$pid"
    say "provider $1 ended"
  fi
  rm -f "$STATE/$1".{pid,out,log,sock}
}

stop() {
  local name
  need_root
  if is_mounted; then
    fusermount3 -u "$MOUNT_POINT" ||
      fail "$MOUNT_POINT is in use (see: fuser -vm $MOUNT_POINT); detach it and come back"
    say "detached $MOUNT_POINT"
  fi
  for name in "${NAMES[@]}"; do stop_provider "$name"; done
  if [[ -e $STATE/enabled-uring ]]; then
    echo N >/sys/module/fuse/parameters/enable_uring
    rm -f "$STATE/enabled-uring"
    say "FUSE over io_uring is disabled again"
  fi
  rm -f "$LOG" "$STATE/fio.json"
  rmdir "$STATE" "$MOUNT_POINT" 2>/dev/null || true
}

case ${1:-} in
  "") start ;;
  --stop) stop ;;
  *)
    echo "usage: ./quickstart.sh [--stop]" >&2
    exit 2
    ;;
esac
