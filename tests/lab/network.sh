# shellcheck shell=bash
# The network between the virtual hosts: one bridge, two cables a host, of which the hosts use the
# first unless a scenario wants both. Sourced, in its namespace.

declare -A ADDRESS=([requester]=10.77.0.1 [p1]=10.77.0.2 [p2]=10.77.0.3)
# shellcheck disable=SC2034 # for machines and scenarios
declare -A ADDRESS6=([requester]=fd77::1 [p1]=fd77::2 [p2]=fd77::3)
# shellcheck disable=SC2034 # for scenarios
SUBNET=10.77.0.0/24 SUBNET6=fd77::/64
MTU=4200
QUEUE_PACKETS=10000 # nothing is lost where hosts are slow

network_up() {
  local host tap
  ip link set lo up
  ip link add br0 mtu "$MTU" type bridge
  ip link set br0 up
  for host in "${!ADDRESS[@]}"; do
    for tap in "tap-$host" "tap2-$host"; do
      ip tuntap add "$tap" mode tap
      ip link set "$tap" mtu "$MTU" txqueuelen "$QUEUE_PACKETS" master br0 up
    done
  done
}
