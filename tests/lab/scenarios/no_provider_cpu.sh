# shellcheck shell=bash disable=SC2034,SC2016,SC2153
# RDMA is one-sided: while gigabytes move, the provider's process does nothing but answer heartbeats.
# Over TCP it handles every byte, which shows that the measure sees such work.
limit_s=420
needs="fio"

TOTAL_MIB=2048
TCP_MIB=256

# Milliseconds of processor time that the provider on a host has used.
cpu_ms_of() {
  on "$1" "awk '{ print (\$14 + \$15) * 1000 / $(getconf CLK_TCK) }' /proc/$(command_pid "${PROVIDER[$1]}")/stat"
}

# move MIB WRITTEN_PERCENT: on the requester, through the mount.
move() {
  fio --name=move --filename="$MNT/file" --size=64M --io_size="$1M" --rw=rw --rwmixwrite=50 --bs=1m \
    --direct=1 --ioengine=libaio --iodepth=4 --output-format=json |
    jq '.jobs[0] | (.read.io_bytes + .write.io_bytes) / 1048576'
}

# used_during COMMAND...: milliseconds of it while the command runs.
used_during() {
  local before
  before=$(cpu_ms_of p1)
  "$@" >"$WORK/said"
  echo $(($(cpu_ms_of p1) - before))
}

# used_while_moving MIB
used_while_moving() {
  used_during on -t 240 requester move "$1"
  expect_at_least "MiB that moved" "$(<"$WORK/said")" "$1"
}

scenario() {
  local start took moving idle by_tcp
  TRANSPORT=verbs
  provider_start p1 128M
  rramfs_mount "" p1
  on requester move 64 # the file is written whole
  start=$SECONDS
  moving=$(used_while_moving "$TOTAL_MIB")
  took=$((SECONDS - start))
  idle=$(used_during sleep "$took")
  on requester detach
  provider_stop p1

  TRANSPORT=tcp
  provider_start p1 128M
  rramfs_mount "" p1
  on requester move 64
  by_tcp=$(used_while_moving "$TCP_MIB")

  figure "processor time of the provider while $TOTAL_MIB MiB moved in $took s: $moving ms; idle for as" \
    "long: $idle ms; by TCP: $by_tcp ms for $TCP_MIB MiB"
  # Less than a hundredth of a processor more than when it is idle, and no part of what copying takes.
  expect_at_least "milliseconds to spare" $((idle + took * 10 - moving)) 0
  expect_at_least "milliseconds to spare beside TCP" \
    $((by_tcp * TOTAL_MIB / TCP_MIB / 10 - (moving - idle))) 0
}
