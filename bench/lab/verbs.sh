# shellcheck shell=bash disable=SC2034,SC2016,SC2153
# The verbs transport beside perftest, which is the limit, over the same soft-RoCE, in turn.
# tests/lab/run_lab.sh --build build --scenarios bench/lab
# Everything is emulated: only the proportions within one run mean anything.
limit_s=420
needs="fio ib_write_bw ib_read_bw ib_read_lat"

REPEATS=3
LATENCY_REPEATS=9 # one run of two seconds differs from the next by a third
LARGE=1048576
declare -A SAMPLES=() # by what was measured, the figures of all repeats

sample() {
  SAMPLES[$1]+="$2 "
}

median_of() {
  tr ' ' '\n' <<<"${SAMPLES[$1]}" | grep . | sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

# limit WHAT COLUMN TOOL OPTIONS...: a sample of what perftest says.
limit() {
  perftest "${@:2}"
  sample "$1" "$FIGURE"
}

# transport OPTIONS...: what the transport alone does, in $WORK/figures.
transport() {
  on -t 60 requester "\$BUILD/bench/rram-perf $(endpoint p1) --span 64M --seconds 2 $*" >"$WORK/figures"
}

# field KIND UNIT: the figure before that unit in the line of reads or writes.
field() {
  awk -v kind="$1" -v unit="$2" \
    '$1 == kind { for (i = 2; i <= NF; ++i) if ($i == unit) { print $(i - 1); exit } }' "$WORK/figures"
}

latencies() {
  local i
  for ((i = 0; i < LATENCY_REPEATS; ++i)); do
    limit "ib_read_lat 4 KiB, us" 5 ib_read_lat -s 4096 -n 3000
    transport --sizes 4K --depths 1 --poll 10000
    sample "verbs read 4 KiB, us" \
      "$(awk '$1 == "read" { for (i = 2; i <= NF; ++i) if ($i == "p50") { print $(i + 1); exit } }' "$WORK/figures")"
  done
}

# fio_mib_s MODE: through the mount, 1 MiB direct at depth 4.
fio_mib_s() {
  on -t 60 requester "fio --name=x --filename=\$MNT/file --size=48M --rw=$1 --bs=1m --direct=1 \
    --ioengine=libaio --iodepth=4 --runtime=4 --time_based --output-format=json" |
    jq ".jobs[0] | (.read.bw_bytes + .write.bw_bytes) / 1048576"
}

# ratio WHAT LIMIT FLOOR|CEILING BOUND
ratio() {
  awk -v what="$1" -v a="$(median_of "$1")" -v b="$(median_of "$2")" -v limit="$2" -v way="$3" -v bound="$4" 'BEGIN {
    r = a / b
    good = way == "floor" ? r >= bound : r <= bound
    printf "figure: %-28s %8.1f, %-28s %8.1f, ratio %.2f (%s %.2f) %s\n", what, a, limit, b, r, way, bound, good ? "PASS" : "FAIL" }'
}

scenario() {
  local i
  TRANSPORT=verbs
  provider_start p1 128M
  for ((i = 0; i < REPEATS; ++i)); do
    step "repeat $((i + 1)) of $REPEATS"
    limit "ib_write_bw 1 MiB, MiB/s" 4 ib_write_bw -s "$LARGE" -n 50
    transport --sizes 1M --depths 16
    sample "verbs write 1 MiB, MiB/s" "$(field write MiB/s)"
    sample "verbs read 1 MiB, MiB/s" "$(field read MiB/s)"
    limit "ib_read_bw 1 MiB, MiB/s" 4 ib_read_bw -s "$LARGE" -n 50
    rramfs_mount "" p1 >/dev/null
    sample "mount write 1 MiB d4, MiB/s" "$(fio_mib_s write)"
    sample "mount read 1 MiB d4, MiB/s" "$(fio_mib_s read)"
    on requester detach
    wait_until "$RETURN_S" "all memory is back at p1" provider_is_idle p1
  done
  step "latency"
  latencies
  ratio "verbs write 1 MiB, MiB/s" "ib_write_bw 1 MiB, MiB/s" floor 0.9
  ratio "verbs read 1 MiB, MiB/s" "ib_read_bw 1 MiB, MiB/s" floor 0.9
  ratio "verbs read 4 KiB, us" "ib_read_lat 4 KiB, us" ceiling 1.15
  ratio "mount write 1 MiB d4, MiB/s" "ib_write_bw 1 MiB, MiB/s" floor 0.7
  ratio "mount read 1 MiB d4, MiB/s" "ib_read_bw 1 MiB, MiB/s" floor 0.7
}
