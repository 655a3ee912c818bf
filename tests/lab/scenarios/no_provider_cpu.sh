# shellcheck shell=bash disable=SC2034,SC2016,SC2153
# RDMA is one-sided: while gigabytes move, the provider's process does nothing but answer heartbeats.
# Over TCP it handles every byte, which shows that the processor time sees such work.
limit_s=600
needs="fio"

TOTAL_MIB=2048
TCP_MIB=256

# On a provider: how often threads of that process were woken, and the milliseconds of processor time
# that it was charged with. Interrupts count to whom they interrupt, so soft-RoCE charges some.
effort_of() {
  awk '/^voluntary_ctxt_switches/ { wakeups += $2 } END { print wakeups }' "/proc/$1"/task/*/status
  awk -v hertz="$(getconf CLK_TCK)" '{ print ($14 + $15) * 1000 / hertz }' "/proc/$1/stat"
}

# effort_during COMMAND...: of p1, in $WAKEUPS and $CPU_MS; what the command says is in $WORK/said.
effort_during() {
  local pid before after
  pid=$(command_pid "${PROVIDER[p1]}")
  mapfile -t before < <(on p1 effort_of "$pid")
  "$@" >"$WORK/said"
  mapfile -t after < <(on p1 effort_of "$pid")
  WAKEUPS=$((after[0] - before[0])) CPU_MS=$((after[1] - before[1]))
}

# On the requester: moves at least so many MiB, a third of them written, and says how many moved.
# Emulated hosts may stand still for longer than RDMA waits: that is EIO for a moment, and no matter
# here.
move() {
  local moved=0 way
  until ((moved >= $1)); do
    for way in write read read; do
      fio --name=move --filename="$MNT/file" --size=64M --io_size=128M --rw="$way" --bs=1m --direct=1 \
        --ioengine=libaio --iodepth=4 --output-format=json >"$WORK/fio" 2>&1 || sleep 1
      moved=$((moved + $(sed -n '/^{/,/^}/p' "$WORK/fio" |
        jq '.jobs[0] | (.read.io_bytes + .write.io_bytes) / 1048576 | floor')))
    done
  done
  echo "$moved"
}

# move_by TRANSPORT MIB: through a mount of its own; $MOVED_MIB, $TOOK_S, $WAKEUPS and $CPU_MS.
move_by() {
  local start
  TRANSPORT=$1
  provider_start p1 128M
  rramfs_mount "" p1
  on -t 120 requester move 1 # the file has been written whole
  start=$SECONDS
  effort_during on -t 300 requester move "$2"
  TOOK_S=$((SECONDS - start))
  MOVED_MIB=$(<"$WORK/said")
}

scenario() {
  local moved took wakeups cpu_ms idle_wakeups idle_cpu_ms
  move_by verbs "$TOTAL_MIB"
  moved=$MOVED_MIB took=$TOOK_S wakeups=$WAKEUPS cpu_ms=$CPU_MS
  effort_during sleep $((took / 4))
  idle_wakeups=$((WAKEUPS * 4)) idle_cpu_ms=$((CPU_MS * 4))
  on requester detach
  provider_stop p1
  move_by tcp "$TCP_MIB"

  figure "RDMA, $moved MiB in $took s: $wakeups wake-ups of the provider, $cpu_ms ms"
  figure "idle for as long: $idle_wakeups wake-ups, $idle_cpu_ms ms"
  figure "TCP, $MOVED_MIB MiB: $CPU_MS ms"
  # Of the operations, of 256 KiB at most, not one in sixteen may wake it.
  expect_at_least "wake-ups to spare" $((idle_wakeups + moved / 4 - wakeups)) 0
  expect_at_least "processor time of TCP, for as much, to spare" \
    $((CPU_MS * moved / MOVED_MIB - 5 * cpu_ms)) 0
}
