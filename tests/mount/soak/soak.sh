# shellcheck shell=bash disable=SC2034
# Rounds of mixed load, for as long as one likes. After each round everything is removed, and memory,
# descriptors and pool counters of the daemons must be what they were after the warm-up:
#   SOAK_MINUTES=30 tests/mount/run_scenarios.sh --scenarios tests/mount/soak
# Each sample is a line of soak.csv in the build directory.
matrix=once
limit_s=$((600 + 60 * ${SOAK_MINUTES:-5}))
needs="python3 dbench stress-ng"

MINUTES=${SOAK_MINUTES:-5}
WARM_UP_ROUNDS=3
# A heap is never quite the same; a leak of 100 bytes in each operation is more in every single round.
GROWTH_KIB=4096
SAMPLES=$BUILD/soak.csv
PROVIDERS="p1 p2"
LOADS="exerciser files tree database stressors"

load_exerciser() {
  "$EXERCISER" --dir "$MNT/exerciser" --operations 60000 --processes 2 --seed "$RANDOM$RANDOM" \
    --time-limit 20
}

load_files() {
  mkdir "$MNT/files"
  dbench --directory="$MNT/files" --timelimit=15 2
}

load_tree() {
  mkdir "$MNT/unpacked"
  python3 "$ROOT/tests/mount/kernel_tree.py" 1500 >"$WORK/tree.tar"
  tar -x -f "$WORK/tree.tar" -C "$MNT/unpacked"
  tar --compare -f "$WORK/tree.tar" -C "$MNT/unpacked"
}

load_database() {
  python3 "$ROOT/tests/mount/sqlite_killed.py" "$MNT/database" wal 12 "$RANDOM$RANDOM"
}

load_stressors() {
  local stressor
  local -a options=(--temp-path "$MNT/stress" --verify --timeout 15s --hdd-bytes 16m --mmap-file
    --mmap-bytes 8m)
  mkdir "$MNT/stress"
  for stressor in dentry dirdeep hdd link mmap open rename symlink xattr; do
    options+=("--$stressor" 1)
  done
  stress-ng "${options[@]}"
}

# All loads at once, each to its end.
run_round() {
  local load sampler
  local -A process
  for load in $LOADS; do
    "load_$load" >"$WORK/$load.log" 2>&1 &
    process[$load]=$!
  done
  sample_under_load &
  sampler=$!
  for load in $LOADS; do
    wait "${process[$load]}" || fail "$load: $(tail -n 60 "$WORK/$load.log")"
  done
  kill "$sampler"
  wait "$sampler" || true
}

rest() {
  find "$MNT" -mindepth 1 -delete
  drop_caches
  wait_until "$ENDING_S" "all space is free again" all_is_free
}

resident_kib() {
  awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"
}

# sample WHEN: a line for each daemon, with a provider's counters after its own.
sample() {
  local name now
  now=$(now_ms)
  {
    echo "$now,$1,rramfs,$(resident_kib "$RRAMFS_PID"),$(descriptors_of "$RRAMFS_PID"),"
    for name in $PROVIDERS; do
      echo "$now,$1,$name,$(resident_kib "${PROVIDER_PID[$name]}")," \
        "$(descriptors_of "${PROVIDER_PID[$name]}"),$(counters "$name")"
    done
  } | tr -d ' ' >>"$SAMPLES"
}

# counters PROVIDER: what must be the same at every rest, and of the rest what must stay 0.
counters() {
  "$RRAM_PROVIDER" --status "unix://$WORK/$1.sock" | jq -r '"leased \(.leased_bytes) free " +
    "\(.free_bytes) reclaiming \(.reclaiming_bytes) leases \(.leases) connections \(.connections) " +
    "rejected \(.rejected_connections) errors \(.protocol_errors)"' | tr ' ' ';'
}

sample_under_load() {
  while sleep 5 && ! process_gone "$RRAMFS_PID"; do sample load; done
}

# Of the last rest, descriptors and counters of each daemon.
state_at_rest() {
  tail -n 3 "$SAMPLES" | awk -F , '{ print $3, $5, $6 }'
}

memory_at_rest() {
  tail -n 3 "$SAMPLES" | awk -F , '{ print $3, $4 }'
}

state_is() {
  sample rest
  [[ $(state_at_rest) == "$1" ]]
}

# expect_flat_memory BEFORE: no daemon has grown since.
expect_flat_memory() {
  local name before now
  while read -r name before _ now; do
    expect_at_least "KiB that $name may still grow by, $before KiB at first, $now KiB now" \
      $((before + GROWTH_KIB - now)) 0
  done < <(paste -d ' ' <(echo "$1") <(memory_at_rest))
}

scenario() {
  local rounds=0 end state memory
  [[ -w /proc/sys/vm/drop_caches ]] || skip "needs root, so that the kernel forgets every file"
  # A crowded host may need longer than the default 5 s to answer; what is sought here is growth.
  volume_start 2 512M timeout=60s
  RRAMFS_PID=$(daemon_of "$MNT")
  echo "ms,when,daemon,resident_kib,descriptors,counters" >"$SAMPLES"
  end=$(($(now_ms) + MINUTES * 60000))
  while (($(now_ms) < end || rounds <= WARM_UP_ROUNDS)); do
    run_round
    rest
    rounds=$((rounds + 1))
    if ((rounds > WARM_UP_ROUNDS)); then
      wait_until "$ENDING_S" "descriptors and counters are those of the warm-up" state_is "$state"
      expect_flat_memory "$memory"
    else
      sample rest
      state=$(state_at_rest) memory=$(memory_at_rest)
    fi
    step "round $rounds: $(memory_at_rest | tr '\n' ' ')"
  done
}
