#!/bin/bash
# Makes a virtual host ready and then carries out commands, until it is switched off.
# Runs as the first process, as root. A command is a directory of the share (see ../agent.sh); what
# to do comes as a line over the serial port: `run NAME` or `end NAME`.

# shellcheck source=tests/lab/guest/lib.sh
source /run/share/guest/lib.sh

# The process groups of commands, by name.
declare -A GROUP=()

# argument NAME: what the kernel's command line says about it.
argument() {
  [[ $(</proc/cmdline) =~ lab\.$1=([^ ]+) ]] && echo "${BASH_REMATCH[1]}"
}

# 4200 bytes leave room for the packets of 4096 bytes that soft-RoCE then uses.
network_up() {
  HOSTNAME=$(argument host)
  echo "$HOSTNAME" >/proc/sys/kernel/hostname
  # Others may remember the NIC that had this host's address before it was switched off.
  echo 1 >/proc/sys/net/ipv4/conf/all/arp_notify
  echo 1 >/proc/sys/net/ipv4/conf/eth0/arp_notify
  ip -batch - <<IP
link set lo up
link set eth0 mtu 4200
addr add $(argument address)/24 dev eth0
addr add $(argument address6)/64 dev eth0 nodad
link set eth0 up
IP
  # Each NIC answers for its own addresses only: an RDMA device hears what comes to its NIC.
  echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore
  echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce
  # RoCE presumes a network that loses nothing; by default packets that wait for long are dropped.
  tc qdisc replace dev eth0 root pfifo limit 10000
}

modules_up() {
  modprobe -a fuse rdma_rxe rdma_ucm ib_uverbs
  rdma link add rxe0 type rxe netdev eth0
}

# From memory they are mapped faster than over the share.
programs_into_memory() {
  mkdir -p /run/rram "$MNT"
  cp -r /run/share/build "$BUILD"
}

# carry_out NAME: a fork of this shell and no program, for under emulation each program that is
# started costs a tenth of a second.
carry_out() {
  local command=/run/share/commands/$1
  exec 3<&-
  (
    set -euo pipefail +m
    trap 'echo "FAILED on $HOSTNAME: $BASH_COMMAND" >&2' ERR
    set -E
    echo "$BASHPID" >"$command/pid"
    # shellcheck source=/dev/null
    [[ ! -e /run/share/scenario.sh ]] || source /run/share/scenario.sh
    # shellcheck source=/dev/null
    source "$command/text"
  ) >"$command/out" 2>"$command/err" </dev/null
  echo $? >"$command/status"
}

end_command() {
  kill -KILL -- "-${GROUP[$1]}" 2>/dev/null
  echo 124 >"/run/share/commands/$1/status"
}

serve() {
  local word name
  exec 3<"$(compgen -G '/dev/vport*p*')"
  # Each command is a process group of its own.
  set -m
  while true; do
    read -r -u 3 word name
    case $word in
      run)
        carry_out "$name" &
        GROUP[$name]=$!
        ;;
      end) end_command "$name" ;;
    esac
  done
}

network_up
modules_up
programs_into_memory
cd /tmp || exit
: >"/run/share/ready.$HOSTNAME"
serve
