# shellcheck shell=bash
# Virtual hosts: on, off, their cables, and whether they live. Sourced, in the namespace of the lab, with $LAB set:
#   $LAB/kernel, $LAB/initrd      what they boot
#   $LAB/share/                   a directory that all of them see, and see changing
#   $LAB/machines/HOST/           id of the qemu process, the pipes of its agent and its monitor
#   $LAB/logs/console.HOST        what the kernel of HOST said
# After network.sh and tests/mount/lib.sh.

# shellcheck disable=SC2034 # others use it
HOSTS=(requester p1 p2)
declare -A CPUS=([requester]=2 [p1]=2 [p2]=1)
MACHINE_MIB=2048
BOOT_LIMIT_S=120
MONITOR_LIMIT_S=30
STATUS_OFF=255 # of a command on a host that is off, or went off

# is_on HOST: its qemu runs.
is_on() {
  local id state
  # Asked fifty times a second: no process is started for it.
  {
    read -r id <"$LAB/machines/$1/id" && read -r _ _ state _ <"/proc/$id/stat"
  } 2>/dev/null && [[ $state != Z ]]
}

# machine_start HOST: switches it on and does not wait.
machine_start() {
  local host=$1 place=$LAB/machines/$1
  # shellcheck disable=SC2153 # of network.sh
  local address=${ADDRESS[$1]} address6=${ADDRESS6[$1]} share=$LAB/share
  rm -rf "$place" "$share/ready.$host"
  mkdir -p "$place"
  mkfifo "$place"/{agent,monitor}.{in,out}
  echo "==== $host is switched on" >>"$LAB/logs/console.$host"
  # In a session of its own: it outlives the scenario that started it.
  setsid qemu-system-x86_64 -accel tcg,thread=multi -cpu max,+invtsc -smp "${CPUS[$host]}" -m "$MACHINE_MIB" \
    -nodefaults -display none -no-reboot \
    -kernel "$LAB/kernel" -initrd "$LAB/initrd" \
    -append "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable clocksource=tsc lab.host=$host lab.address=$address \
lab.address6=$address6" \
    -chardev "file,id=console,path=$LAB/logs/console.$host,append=on" -serial chardev:console \
    -chardev "pipe,id=monitor,path=$place/monitor" -mon chardev=monitor,mode=control \
    -virtfs local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap \
    -virtfs "local,path=$share,mount_tag=share,security_model=none,multidevs=remap" \
    -chardev "pipe,id=agent,path=$place/agent" -device virtio-serial-pci \
    -device virtserialport,chardev=agent,name=agent \
    -netdev "tap,id=cable,ifname=tap-$host,script=no,downscript=no" \
    -device "virtio-net-pci,netdev=cable,mac=52:54:00:77:00:0${address##*.}" \
    -netdev "tap,id=cable2,ifname=tap2-$host,script=no,downscript=no" \
    -device "virtio-net-pci,netdev=cable2,mac=52:54:00:78:00:0${address##*.}" \
    -device virtio-rng-pci </dev/null >>"$LAB/logs/qemu.$host" 2>&1 &
  echo $! >"$place/id"
  # Not before the greeting: what is written to a pipe that qemu has not opened yet is lost.
  monitor_answer "$host"
  monitor "$host" '{"execute": "qmp_capabilities"}'
}

# monitor_answer HOST: waits for the answer of its monitor, or for its greeting.
monitor_answer() {
  local answer
  # Opened both ways, here and below: a pipe without a peer would block.
  while read -r -t "$MONITOR_LIMIT_S" answer; do
    case $answer in
      '{"return"'* | '{"QMP"'*) return ;;
      '{"error"'*) fail "the monitor of $1 says: $answer" ;;
    esac # all else is an event
  done 0<>"$LAB/machines/$1/monitor.out"
  fail "the monitor of $1 does not answer"
}

# monitor HOST JSON: a command of QMP, the protocol of qemu's monitor.
monitor() {
  echo "$2" 1<>"$LAB/machines/$1/monitor.in"
  monitor_answer "$1"
}

# cable_out HOST, cable_in HOST: the host sees its first NIC lose the carrier, and get it back.
cable_out() {
  monitor "$1" '{"execute": "set_link", "arguments": {"name": "cable", "up": false}}'
}

cable_in() {
  monitor "$1" '{"execute": "set_link", "arguments": {"name": "cable", "up": true}}'
}

is_ready_or_off() {
  [[ -e $LAB/share/ready.$1 ]] || ! is_on "$1"
}

# machine_wait HOST: until it carries out commands.
machine_wait() {
  wait_until "$BOOT_LIMIT_S" "$1 has booted" is_ready_or_off "$1"
  is_on "$1" || fail "$1 ended while it booted"
}

# power_off HOST: as if its plug were pulled. What ran on it has ended.
power_off() {
  local id command
  id=$(<"$LAB/machines/$1/id")
  kill -KILL "$id"
  rm "$LAB/machines/$1/id"
  wait_until 10 "$1 is off" process_gone "$id"
  echo "==== $1 is switched off" >>"$LAB/logs/console.$1"
  for command in "$LAB/share/commands/$1".*/; do
    [[ ! -d $command || -s $command/status ]] || echo "$STATUS_OFF" >"$command/status"
  done
}

# power_on HOST...: boots them, at once.
power_on() {
  local host
  for host in "$@"; do machine_start "$host"; done
  for host in "$@"; do machine_wait "$host"; done
}
