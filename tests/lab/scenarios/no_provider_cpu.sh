# shellcheck shell=bash disable=SC2034,SC2016,SC2153
# RDMA is one-sided: while data moves, the provider's process does nothing but answer heartbeats.
limit_s=120

# Milliseconds of processor time that the provider on a host has used.
cpu_ms_of() {
  on "$1" "awk '{ print (\$14 + \$15) * 1000 / $(getconf CLK_TCK) }' /proc/$(command_pid "${PROVIDER[$1]}")/stat"
}

# On the requester.
move_data() {
  dd if=/dev/zero of="$MNT/file" bs=1M count="$1" oflag=direct status=none
  for _ in 1 2 3; do dd if="$MNT/file" of=/dev/null bs=1M iflag=direct status=none; done
}

# used_during COMMAND...: milliseconds of it while the command runs.
used_during() {
  local before
  before=$(cpu_ms_of p1)
  "$@" >/dev/null
  echo $(($(cpu_ms_of p1) - before))
}

scenario() {
  local start moving idle
  TRANSPORT=verbs
  provider_start p1 128M
  rramfs_mount "" p1
  start=$SECONDS
  moving=$(used_during on -t 60 requester move_data 64)
  idle=$(used_during sleep $((SECONDS - start)))
  figure "processor time of the provider while 256 MiB moved: $moving ms; idle for as long: $idle ms"
  # Copying so much costs a process seconds here.
  expect_at_least "milliseconds to spare" $((idle + 150 - moving)) 0
}
